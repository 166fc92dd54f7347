// Reductions over the lanes of a warp and over the threads of a block. The order of operations is fixed by
// the number of threads, so a result repeats bit for bit. Owns nothing: the shared memory is the caller's.
#pragma once

#include "kernels/cuda/primitives.cuh"

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {

inline constexpr unsigned kAllLanes = 0xffffffffu;
inline constexpr int kWarpSize = 32;

struct Sum {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct Max {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a < b ? b : a;
  }
};

/// The values of all 32 lanes combined; every lane gets the same bits, since `combine` is commutative.
template <class T, class Combine>
__device__ T warp_reduce(T value, Combine combine) {
#pragma unroll
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) {
    value = combine(value, __shfl_xor_sync(kAllLanes, value, offset));
  }
  return value;
}

/// What block_reduce needs of the block's shared memory.
template <class T>
struct ReduceMemory {
  T warps[kWarpSize];
};

/// The values of all threads of a one-dimensional block of whole warps combined, for every thread. `identity`
/// leaves what it is combined with as it is. `memory` may be used again at once.
template <class T, class Combine>
__device__ T block_reduce(T value, T identity, Combine combine, ReduceMemory<T>& memory) {
  const unsigned lane = threadIdx.x % kWarpSize;
  value = warp_reduce(value, combine);
  __syncthreads();  // an earlier call may still be reading
  if (lane == 0) {
    memory.warps[threadIdx.x / kWarpSize] = value;
  }
  __syncthreads();
  return warp_reduce(lane < blockDim.x / kWarpSize ? memory.warps[lane] : identity, combine);
}

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
