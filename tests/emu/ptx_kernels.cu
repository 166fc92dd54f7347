#include "tests/emu/ptx_kernels.h"

#include "kernels/cuda/launch.h"
#include "kernels/cuda/primitives.cuh"

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {
namespace {

constexpr RacyLines kRacyLines = {__LINE__ + 23, __LINE__ + 29};

struct Sums {
  float of_warp[8];
};

__device__ float sum_of_warp(float value) {
  for (int distance = 16; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(0xffffffffu, value, distance);
  }
  return value;
}

template <bool kRacy>
__global__ void __launch_bounds__(256) sum_kernel(const float* in, float* out) {
  Sums& sums = shared_memory<Sums>();
  if (threadIdx.x < 8) {
    sums.of_warp[threadIdx.x] = 0;
  }
  __syncthreads();
  const float value = sum_of_warp(in[blockIdx.x * 256 + threadIdx.x]);
  const unsigned warp = threadIdx.x / 32;
  if (threadIdx.x % 32 == 0) {
    sums.of_warp[warp] = value;
  }
  if (!kRacy) {
    __syncthreads();
  }
  if (threadIdx.x < 32) {
    const float part = threadIdx.x < 8 ? sums.of_warp[threadIdx.x] : 0;
    const float total = sum_of_warp(part);
    if (threadIdx.x == 0) {
      out[blockIdx.x] = total;
    }
  }
}

__global__ void mixed_kernel(std::int8_t byte, MixedParameters p, float half_way, double* out) {
  const int i = static_cast<int>(threadIdx.x);
  out[i] = p.small + p.weight * p.table[i % 5] + p.last + byte + half_way;
}

struct Tile {
  std::uint16_t a[16][16];
  std::uint16_t b[16][8];
};

template <class T, bool kTransposed>
__global__ void tile_kernel(const std::uint16_t* a, const std::uint16_t* b, float* c) {
  Tile& tile = shared_memory<Tile>();
  const unsigned lane = threadIdx.x;
  async_copy16(&tile.a[lane / 2][lane % 2 * 8], a + lane * 8);
  if (lane < 16) {
    async_copy16(&tile.b[lane][0], b + lane * 8);
  }
  async_commit();
  async_wait<0>();
  __syncthreads();
  std::uint32_t af[4], bf[4];
  load_matrices(af, &tile.a[lane % 16][lane / 16 * 8]);
  const void* row = &tile.b[lane % 16][0];
  if (kTransposed) {
    load_matrices_transposed(bf, row);
  } else {
    load_matrices(bf, row);
  }
  float sums[4] = {};
  const std::uint32_t b_fragment[2] = {bf[0], bf[1]};
  multiply_add<T>(sums, af, b_fragment);
  for (unsigned i = 0; i < 4; ++i) {
    c[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = sums[i];
  }
}

template <class T>
void tile_product(Transposed transposed, const std::uint16_t* a, const std::uint16_t* b, float* c) {
  launch(nullptr, dim3(1), dim3(32), sizeof(Tile),
         transposed == Transposed::as_wanted ? tile_kernel<T, true> : tile_kernel<T, false>, a, b, c);
}

__global__ void functions_kernel(const float* in, float* out, int count) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < count) {
    const float x = in[i];
    float* to = out + 8 * i;
    to[0] = expf(x);
    to[1] = logf(fabsf(x));
    to[2] = sinf(x);
    to[3] = cosf(x);
    to[4] = tanhf(x);
    to[5] = erff(x);
    to[6] = x / 3.0f;
    to[7] = powf(fabsf(x), 1.5f);
  }
}

__global__ void double_sine_kernel(const double* in, double* out, int count) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < count) {
    out[i] = sin(in[i]);
  }
}

__host__ __device__ std::int64_t operation(int op, std::int32_t a, std::int32_t b) {
  const auto ua = static_cast<std::uint32_t>(a);
  switch (op) {
    case 0:
      return std::int64_t{a} * b;
    case 1:
      return b == 0 ? 0 : a / 7 - ua / 11u;
    case 2:
      return b == 0 ? 1 : static_cast<std::int64_t>(ua) % b;
    case 3:
      return a > b ? a : b;
    case 4:
      return (ua << (b & 31)) ^ (ua >> (b & 15));
    case 5:
      return static_cast<std::int16_t>(a) * std::int64_t{static_cast<std::uint8_t>(b)};
    case 6:
      return static_cast<std::int64_t>(a) << 20 | static_cast<std::uint32_t>(b);
    default:
      return std::int64_t{a} - b;
  }
}

__global__ void operations_kernel(const std::int32_t* a, const std::int32_t* b, std::int64_t* out,
                                  int count) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < count) {
    for (int op = 0; op < 8; ++op) {
      out[8 * i + op] = operation(op, a[i], b[i]);
    }
  }
}

__global__ void atomics_kernel(const int* in, int count, int* total, int* largest, unsigned* histogram) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < count) {
    atomicAdd(total, in[i]);
    atomicMax(largest, in[i]);
    atomicAdd(histogram + in[i] % 16, 1u);
  }
}

dim3 blocks_for(int count) {
  return dim3(static_cast<unsigned>((count + 63) / 64));
}

}  // namespace

void mixed_parameters(std::int8_t byte, MixedParameters parameters, float half_way, double* out, int count) {
  launch(nullptr, dim3(1), dim3(static_cast<unsigned>(count)), 0, mixed_kernel, byte, parameters, half_way,
         out);
}
void block_sums(const float* in, float* out, int blocks) {
  launch(nullptr, dim3(static_cast<unsigned>(blocks)), dim3(256), sizeof(Sums), sum_kernel<false>, in, out);
}
void racy_block_sums(const float* in, float* out, int blocks) {
  launch(nullptr, dim3(static_cast<unsigned>(blocks)), dim3(256), sizeof(Sums), sum_kernel<true>, in, out);
}
RacyLines racy_lines() {
  return kRacyLines;
}
void tile_product_f16(Transposed transposed, const std::uint16_t* a, const std::uint16_t* b, float* c) {
  tile_product<f16>(transposed, a, b, c);
}
void tile_product_bf16(Transposed transposed, const std::uint16_t* a, const std::uint16_t* b, float* c) {
  tile_product<bf16>(transposed, a, b, c);
}
void functions(const float* in, float* out, int count) {
  launch(nullptr, blocks_for(count), dim3(64), 0, functions_kernel, in, out, count);
}
void double_sine(const double* in, double* out, int count) {
  launch(nullptr, blocks_for(count), dim3(64), 0, double_sine_kernel, in, out, count);
}
std::int64_t integer_operation(int op, std::int32_t a, std::int32_t b) {
  return operation(op, a, b);
}
void integer_operations(const std::int32_t* a, const std::int32_t* b, std::int64_t* out, int count) {
  launch(nullptr, blocks_for(count), dim3(64), 0, operations_kernel, a, b, out, count);
}
void atomics(const int* in, int count, int* total, int* largest, unsigned* histogram) {
  launch(nullptr, blocks_for(count), dim3(64), 0, atomics_kernel, in, count, total, largest, histogram);
}

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
