#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/vectors.cuh"

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {
namespace {

/// x / (1 + exp(-argument)); the exponent is capped where the quotient has vanished.
__device__ float times_sigmoid(float x, float argument) {
  return x / (1.0f + expf(fminf(-argument, 88.0f)));
}

template <Activation kActivation>
__device__ float activate(float x) {
  if constexpr (kActivation == Activation::relu) {
    return fmaxf(x, 0.0f);
  } else if constexpr (kActivation == Activation::gelu) {
    // x * Phi(x): erfc keeps the left tail, which 1 + erf would lose to cancellation.
    return x * (0.5f * erfcf(x * -0.70710678f));
  } else if constexpr (kActivation == Activation::gelu_tanh) {
    // 0.5 x (1 + tanh(u)) = x / (1 + exp(-2 u)), u = sqrt(2 / pi) (x + 0.044715 x^3).
    return times_sigmoid(x, 1.59576912f * fmaf(x * x * 0.044715f, x, x));
  } else {
    return x;
  }
}

template <Activation kActivation, int N>
__global__ void __launch_bounds__(256)
    bias_activation_kernel(float* x, std::int32_t cols, const float* __restrict__ bias) {
  const std::int32_t i = item_of_thread() * N;
  if (i >= cols) {
    return;
  }
  float* item = x + static_cast<std::int64_t>(blockIdx.x) * cols + i;
  float values[N], biases[N] = {};
  load(item, values);
  if (bias != nullptr) {
    load(bias + i, biases);
  }
#pragma unroll
  for (int j = 0; j < N; ++j) {
    values[j] = activate<kActivation>(values[j] + biases[j]);
  }
  store(item, values);
}

template <int N>
__global__ void __launch_bounds__(256)
    silu_mul_kernel(const float* __restrict__ x, std::int32_t cols, float* out) {
  const std::int32_t i = item_of_thread() * N;
  if (i >= cols) {
    return;
  }
  const float* gate = x + static_cast<std::int64_t>(blockIdx.x) * 2 * cols + i;
  float gates[N], ups[N];
  load(gate, gates);
  load(gate + cols, ups);
#pragma unroll
  for (int j = 0; j < N; ++j) {
    gates[j] = times_sigmoid(gates[j], gates[j]) * ups[j];
  }
  store(out + static_cast<std::int64_t>(blockIdx.x) * cols + i, gates);
}

template <Activation kActivation>
void launch_activation(cudaStream_t stream, Tensor x, const float* bias) {
  const bool wide = in_vectors(x.cols, 4, {x.data, bias});
  const ItemGrid shape(x.rows, wide ? x.cols / 4 : x.cols);
  launch(stream, shape.grid, shape.block, 0,
         wide ? bias_activation_kernel<kActivation, 4> : bias_activation_kernel<kActivation, 1>, x.data,
         x.cols, bias);
}

}  // namespace

void bias_activation(cudaStream_t stream, Tensor x, const float* bias, Activation act) {
  switch (act) {
    case Activation::none:
      return launch_activation<Activation::none>(stream, x, bias);
    case Activation::relu:
      return launch_activation<Activation::relu>(stream, x, bias);
    case Activation::gelu:
      return launch_activation<Activation::gelu>(stream, x, bias);
    case Activation::gelu_tanh:
      return launch_activation<Activation::gelu_tanh>(stream, x, bias);
  }
}

void silu_mul(cudaStream_t stream, Tensor x, Tensor out) {
  const bool wide = in_vectors(out.cols, 4, {x.data, out.data});
  const ItemGrid shape(out.rows, wide ? out.cols / 4 : out.cols);
  launch(stream, shape.grid, shape.block, 0, wide ? silu_mul_kernel<4> : silu_mul_kernel<1>, x.data, out.cols,
         out.data);
}

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
