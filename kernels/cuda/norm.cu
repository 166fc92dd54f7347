// Layer norm and RMS norm: one block of threads per row, whose number follows from the width alone, so that a
// row's result does not depend on the rows beside it. Rows are read again for each pass: they are in L1 by
// then.
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vectors.cuh"

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {
namespace {

constexpr unsigned kMostThreads = 512;

/// The sum of term(x) over the row, for every thread.
template <int N, class Term>
__device__ float row_sum(const float* x, std::int32_t cols, ReduceMemory<float>& memory, Term term) {
  float sum = 0;
  for (std::int32_t i = threadIdx.x * N; i < cols; i += blockDim.x * N) {
    float values[N];
    load(x + i, values);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      sum += term(values[j]);
    }
  }
  return block_reduce(sum, 0.0f, Sum{}, memory);
}

template <int N>
__global__ void __launch_bounds__(kMostThreads)
    layer_norm_kernel(const float* x, std::int32_t cols, const float* __restrict__ gamma,
                      const float* __restrict__ beta, float epsilon, float* out) {
  auto& memory = shared_memory<ReduceMemory<float>>();
  const float* row = x + static_cast<std::int64_t>(blockIdx.x) * cols;
  float* out_row = out + static_cast<std::int64_t>(blockIdx.x) * cols;
  const float inverse_count = 1.0f / static_cast<float>(cols);
  const float mean = row_sum<N>(row, cols, memory, [](float value) { return value; }) * inverse_count;
  const float variance = inverse_count * row_sum<N>(row, cols, memory, [mean](float value) {
                           return (value - mean) * (value - mean);
                         });
  const float scale = 1.0f / sqrtf(variance + epsilon);
  for (std::int32_t i = threadIdx.x * N; i < cols; i += blockDim.x * N) {
    float values[N], weights[N], biases[N];
    load(row + i, values);
    load(gamma + i, weights);
    load(beta + i, biases);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      values[j] = fmaf((values[j] - mean) * scale, weights[j], biases[j]);
    }
    store(out_row + i, values);
  }
}

/// With a residual, x is added to it first, and the sum is what is normed.
template <int N>
__global__ void __launch_bounds__(kMostThreads)
    rms_norm_kernel(const float* x, float* residual, std::int32_t cols, const float* __restrict__ gamma,
                    float epsilon, float* out) {
  auto& memory = shared_memory<ReduceMemory<float>>();
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * cols;
  const float* row = x + first;
  float sum = 0;
  for (std::int32_t i = threadIdx.x * N; i < cols; i += blockDim.x * N) {
    float values[N];
    load(row + i, values);
    if (residual != nullptr) {
      float total[N];
      load(residual + first + i, total);
#pragma unroll
      for (int j = 0; j < N; ++j) {
        values[j] += total[j];
      }
      store(residual + first + i, values);
    }
#pragma unroll
    for (int j = 0; j < N; ++j) {
      sum = fmaf(values[j], values[j], sum);
    }
  }
  const float mean_square = block_reduce(sum, 0.0f, Sum{}, memory) / static_cast<float>(cols);
  const float scale = 1.0f / sqrtf(mean_square + epsilon);
  // A thread reads back what it wrote itself.
  const float* normed = residual != nullptr ? residual + first : row;
  for (std::int32_t i = threadIdx.x * N; i < cols; i += blockDim.x * N) {
    float values[N], weights[N];
    load(normed + i, values);
    load(gamma + i, weights);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      values[j] = values[j] * scale * weights[j];
    }
    store(out + first + i, values);
  }
}

template <class Kernel, class... Arguments>
void launch_rows(cudaStream_t stream, Tensor x, bool wide, Kernel vectors, Kernel scalars,
                 Arguments... arguments) {
  const unsigned threads = row_threads(wide ? x.cols / 4 : x.cols, kMostThreads);
  launch(stream, dim3(static_cast<unsigned>(x.rows)), dim3(threads), sizeof(ReduceMemory<float>),
         wide ? vectors : scalars, arguments...);
}

}  // namespace

void layer_norm(cudaStream_t stream, Tensor x, const float* gamma, const float* beta, float epsilon,
                Tensor out) {
  const bool wide = in_vectors(x.cols, 4, {x.data, gamma, beta, out.data});
  launch_rows(stream, x, wide, layer_norm_kernel<4>, layer_norm_kernel<1>, x.data, x.cols, gamma, beta,
              epsilon, out.data);
}

void rms_norm(cudaStream_t stream, Tensor x, const float* gamma, float epsilon, Tensor out) {
  const bool wide = in_vectors(x.cols, 4, {x.data, gamma, out.data});
  launch_rows(stream, x, wide, rms_norm_kernel<4>, rms_norm_kernel<1>, x.data, nullptr, x.cols, gamma,
              epsilon, out.data);
}

void add_rms_norm(cudaStream_t stream, Tensor x, Tensor residual, const float* gamma, float epsilon,
                  Tensor out) {
  const bool wide = in_vectors(x.cols, 4, {x.data, residual.data, gamma, out.data});
  launch_rows(stream, x, wide, rms_norm_kernel<4>, rms_norm_kernel<1>, x.data, residual.data, x.cols, gamma,
              epsilon, out.data);
}

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
