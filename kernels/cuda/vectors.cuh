// Runs of numbers between memory of any storage type and float registers, 16 bytes at a time; and the shape
// of a launch that gives every run of a matrix to a thread. Owns nothing.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>

#include "kernels/cuda/primitives.cuh"
#include "kernels/ops.h"

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {

/// `to` = the N numbers at `from`, 16-byte aligned unless N is 1.
template <class T, int N>
__device__ void load(const T* from, float (&to)[N]) {
  if constexpr (N == 1) {
    to[0] = to_float(*from);
  } else if constexpr (sizeof(T) == 4) {
#pragma unroll
    for (int i = 0; i < N; i += 4) {
      const float4 four = __builtin_bit_cast(float4, load16(from + i));
      to[i] = four.x;
      to[i + 1] = four.y;
      to[i + 2] = four.z;
      to[i + 3] = four.w;
    }
  } else {
    static_assert(N == 8);
    const uint4 eight = load16(from);
    const std::uint32_t pairs[4] = {eight.x, eight.y, eight.z, eight.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float2 two = unpack2<T>(pairs[i]);
      to[2 * i] = two.x;
      to[2 * i + 1] = two.y;
    }
  }
}

/// The N numbers at `to`, 16-byte aligned unless N is 1, = `from`, rounded to nearest even.
template <class T, int N>
__device__ void store(T* to, const float (&from)[N]) {
  if constexpr (N == 1) {
    *to = from_float<T>(from[0]);
  } else if constexpr (sizeof(T) == 4) {
#pragma unroll
    for (int i = 0; i < N; i += 4) {
      store16(to + i, __builtin_bit_cast(uint4, make_float4(from[i], from[i + 1], from[i + 2], from[i + 3])));
    }
  } else {
    static_assert(N == 8);
    store16(to, make_uint4(pack2<T>(from[0], from[1]), pack2<T>(from[2], from[3]), pack2<T>(from[4], from[5]),
                           pack2<T>(from[6], from[7])));
  }
}

/// True if rows of `cols` numbers from these addresses on can be read `width` numbers at a time.
inline bool in_vectors(std::int32_t cols, int width, std::initializer_list<const void*> addresses) {
  return cols % width == 0 && std::all_of(addresses.begin(), addresses.end(), [](const void* address) {
           return reinterpret_cast<std::uintptr_t>(address) % 16 == 0;
         });
}

/// Threads of a block for a row of `items`: whole warps, at most `most`.
inline unsigned row_threads(std::int32_t items, unsigned most) {
  return std::clamp((static_cast<unsigned>(items) + 31) / 32 * 32, 32u, most);
}

/// A launch with one thread per item: rows in x, items of a row in y.
struct ItemGrid {
  dim3 grid;
  dim3 block;

  ItemGrid(std::int32_t rows, std::int32_t items) {
    block.x = row_threads(items, 256);
    grid.x = static_cast<unsigned>(rows);
    grid.y = (static_cast<unsigned>(items) + block.x - 1) / block.x;
  }
};

/// The calling thread's item in a launch of ItemGrid, beyond the row's end for some threads.
__device__ inline std::int32_t item_of_thread() {
  return static_cast<std::int32_t>(blockIdx.y * blockDim.x + threadIdx.x);
}

/// body(T{}) for the storage type of `dtype`.
template <class Body>
void with_storage_type(DType dtype, Body&& body) {
  switch (dtype) {
    case DType::f32:
      return body(float{});
    case DType::bf16:
      return body(bf16{});
    case DType::f16:
      return body(f16{});
  }
}

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
