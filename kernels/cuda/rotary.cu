#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/vectors.cuh"

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {
namespace {

constexpr unsigned kThreads = 256;
constexpr int kMostPairs = 128;

struct RotaryMemory {
  alignas(16) float sines[kMostPairs];
  alignas(16) float cosines[kMostPairs];
};

struct SineCosine {
  float sine;
  float cosine;
};

/// Of an angle in [0, 2^31), to 2e-7: reduced by multiples of pi / 2 in double, which no position outgrows,
/// then Taylor's series in float. (For large angles sinf and cosf go through local memory.)
__device__ SineCosine sine_cosine(float angle) {
  const double turns = rint(static_cast<double>(angle) * 0.63661977236758134308);
  const auto r = static_cast<float>(fma(-turns, 1.5707963267948966192, static_cast<double>(angle)));
  const float r2 = r * r;
  float s = fmaf(r2, 1.0f / 362880, -1.0f / 5040);
  s = fmaf(s, r2, 1.0f / 120);
  s = fmaf(s, r2, -1.0f / 6);
  s = fmaf(s * r2, r, r);
  float c = fmaf(r2, -1.0f / 3628800, 1.0f / 40320);
  c = fmaf(c, r2, -1.0f / 720);
  c = fmaf(c, r2, 1.0f / 24);
  c = fmaf(c, r2, -0.5f);
  c = fmaf(c, r2, 1.0f);
  const auto quadrant = static_cast<unsigned>(static_cast<int>(turns)) % 4;
  const float sine = quadrant % 2 == 0 ? s : c;
  const float cosine = quadrant % 2 == 0 ? c : s;
  return {quadrant >= 2 ? -sine : sine, quadrant == 1 || quadrant == 2 ? -cosine : cosine};
}

/// One block of threads per row: first the angles, which all heads share, then runs of N pairs.
template <int N>
__global__ void __launch_bounds__(kThreads)
    rotary_kernel(float* x, std::int32_t cols, std::int32_t heads, std::int32_t head_size,
                  const std::int32_t* __restrict__ positions, const float* __restrict__ inv_freq) {
  auto& memory = shared_memory<RotaryMemory>();
  const std::int32_t pairs = head_size / 2;
  const auto position = static_cast<float>(positions[blockIdx.x]);
  for (std::int32_t i = threadIdx.x; i < pairs; i += blockDim.x) {
    const SineCosine angle = sine_cosine(position * inv_freq[i]);
    memory.sines[i] = angle.sine;
    memory.cosines[i] = angle.cosine;
  }
  __syncthreads();
  float* row = x + static_cast<std::int64_t>(blockIdx.x) * cols;
  const std::int32_t head_runs = pairs / N;
  for (std::int32_t run = threadIdx.x; run < heads * head_runs; run += blockDim.x) {
    const std::int32_t head = run / head_runs;
    const std::int32_t i = (run - head * head_runs) * N;
    float* low = row + head * head_size + i;
    float* high = low + pairs;
    float lows[N], highs[N], sines[N], cosines[N];
    load(low, lows);
    load(high, highs);
    load(memory.sines + i, sines);
    load(memory.cosines + i, cosines);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const float value = lows[j];
      lows[j] = fmaf(-highs[j], sines[j], value * cosines[j]);
      highs[j] = fmaf(value, sines[j], highs[j] * cosines[j]);
    }
    store(low, lows);
    store(high, highs);
  }
}

}  // namespace

void rotary(cudaStream_t stream, Tensor x, std::int32_t heads, std::int32_t head_size,
            const std::int32_t* positions, const float* inv_freq) {
  const bool wide = head_size % 8 == 0 && in_vectors(x.cols, 4, {x.data});
  launch(stream, dim3(static_cast<unsigned>(x.rows)), dim3(kThreads), sizeof(RotaryMemory),
         wide ? rotary_kernel<4> : rotary_kernel<1>, x.data, x.cols, heads, head_size, positions, inv_freq);
}

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
