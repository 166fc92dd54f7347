// Rows moved from one place to another: looked up in a table, gathered, or converted to another storage type.
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/vectors.cuh"

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {
namespace {

/// out[i] (+)= table[rows[i]].
template <class T, int N>
__global__ void __launch_bounds__(256)
    lookup_kernel(const T* __restrict__ table, std::int32_t cols, const std::int32_t* __restrict__ rows,
                  float* out, bool accumulate) {
  const std::int32_t i = item_of_thread() * N;
  if (i >= cols) {
    return;
  }
  float values[N];
  load(table + static_cast<std::int64_t>(rows[blockIdx.x]) * cols + i, values);
  float* target = out + static_cast<std::int64_t>(blockIdx.x) * cols + i;
  if (accumulate) {
    float before[N];
    load(target, before);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      values[j] += before[j];
    }
  }
  store(target, values);
}

template <class T, int N>
__global__ void __launch_bounds__(256)
    convert_kernel(const float* __restrict__ x, std::int32_t cols, T* out) {
  const std::int32_t i = item_of_thread() * N;
  if (i >= cols) {
    return;
  }
  const std::int64_t at = static_cast<std::int64_t>(blockIdx.x) * cols + i;
  float values[N];
  load(x + at, values);
  store(out + at, values);
}

constexpr int kRun = 8;  ///< numbers a thread moves: 16 bytes of a 16-bit type

}  // namespace

void embedding(cudaStream_t stream, const void* table, DType dtype, const std::int32_t* ids, Tensor out,
               bool accumulate) {
  const bool wide = in_vectors(out.cols, kRun, {table, out.data});
  const ItemGrid shape(out.rows, wide ? out.cols / kRun : out.cols);
  with_storage_type(dtype, [&](auto zero) {
    using T = decltype(zero);
    launch(stream, shape.grid, shape.block, 0, wide ? lookup_kernel<T, kRun> : lookup_kernel<T, 1>,
           static_cast<const T*>(table), out.cols, ids, out.data, accumulate);
  });
}

void convert(cudaStream_t stream, Tensor x, DType dtype, void* out) {
  const bool wide = in_vectors(x.cols, kRun, {x.data, out});
  const ItemGrid shape(x.rows, wide ? x.cols / kRun : x.cols);
  with_storage_type(dtype, [&](auto zero) {
    using T = decltype(zero);
    launch(stream, shape.grid, shape.block, 0, wide ? convert_kernel<T, kRun> : convert_kernel<T, 1>, x.data,
           x.cols, static_cast<T*>(out));
  });
}

void gather_rows(cudaStream_t stream, Tensor x, const std::int32_t* rows, Tensor out) {
  embedding(stream, x.data, DType::f32, rows, out, false);
}

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
