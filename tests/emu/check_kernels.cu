#include "tests/emu/check_kernels.h"

#include "kernels/cuda/launch.h"
#include "kernels/cuda/primitives.cuh"

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {
namespace {

constexpr int kThreads = 64;

struct Cells {
  float cell[kThreads];
};

struct Tiles {
  float cell[2][4 * kThreads];
};

template <class... Parameters, class... Arguments>
void start(int blocks, int threads, std::size_t shared, void (*kernel)(Parameters...),
           Arguments... arguments) {
  launch(nullptr, dim3(static_cast<unsigned>(blocks)), dim3(static_cast<unsigned>(threads)), shared, kernel,
         arguments...);
}

/// Starts `kernel<true>` or `kernel<false>`, the planted one and its twin, as one block.
template <class... Parameters, class... Arguments>
void start(Twin twin, std::size_t shared, void (*correct)(Parameters...), void (*planted)(Parameters...),
           Arguments... arguments) {
  start(1, kThreads, shared, twin == Twin::correct ? correct : planted, arguments...);
}

__device__ int thread() {
  return static_cast<int>(threadIdx.x);
}

template <bool kCorrect>
__global__ void previous_cell_kernel(float* out) {
  auto& shared = shared_memory<Cells>();
  const int t = thread();
  shared.cell[t] = 1.0f;
  if constexpr (kCorrect) {
    __syncthreads();
  }
  out[t] = shared.cell[t > 0 ? t - 1 : 0];
}
constexpr RacingLines kPreviousCellLines{__LINE__ - 6, __LINE__ - 2};

template <bool kCorrect>
__global__ void next_round_kernel(float* out) {
  auto& shared = shared_memory<Cells>();
  const int t = thread();
  float sum = 0.0f;
  for (int round = 0; round < 3; ++round) {
    shared.cell[t] = static_cast<float>(round);
    __syncthreads();
    sum += shared.cell[(t + 1) % kThreads];
    if constexpr (kCorrect) {
      __syncthreads();
    }
  }
  out[t] = sum;
}

template <bool kCorrect>
__global__ void common_flag_kernel(float* out) {
  auto& shared = shared_memory<Cells>();
  if (!kCorrect || thread() == 0) {
    shared.cell[0] = 1.0f;
  }
  __syncthreads();
  out[thread()] = shared.cell[0];
}

template <bool kCorrect>
__global__ void double_buffer_kernel(const float* in, float* out) {
  auto& shared = shared_memory<Tiles>();
  constexpr int kRounds = 8;
  constexpr int kTile = 4 * kThreads;
  const int t = thread();
  float sum = 0.0f;
  async_copy16(&shared.cell[0][4 * t], in + 4 * t);
  async_commit();
  for (int round = 0; round < kRounds; ++round) {
    if (round + 1 < kRounds) {
      async_copy16(&shared.cell[(round + 1) % 2][4 * t], in + (round + 1) * kTile + 4 * t);
    }
    async_commit();
    async_wait<1>();
    __syncthreads();
    sum += shared.cell[round % 2][(4 * t + 4) % kTile];
    if constexpr (kCorrect) {
      __syncthreads();
    }
  }
  out[t] = sum;
}

template <bool kCorrect>
__global__ void copy_without_wait_kernel(const float* in, float* out) {
  auto& shared = shared_memory<Tiles>();
  const int t = thread();
  async_copy16(&shared.cell[0][4 * t], in + 4 * t);
  async_commit();
  if constexpr (kCorrect) {
    async_wait<0>();
  }
  __syncthreads();
  out[t] = shared.cell[0][4 * t];
}

template <bool kCorrect>
__global__ void copy_without_barrier_kernel(const float* in, float* out) {
  auto& shared = shared_memory<Tiles>();
  const int t = thread();
  async_copy16(&shared.cell[0][4 * t], in + 4 * t);
  async_commit();
  async_wait<0>();
  if constexpr (kCorrect) {
    __syncthreads();
  }
  out[t] = shared.cell[0][t > 0 ? 4 * t - 4 : 0];
}

template <bool kCorrect>
__global__ void warp_sync_kernel(float* out) {
  auto& shared = shared_memory<Cells>();
  const int t = thread();
  float sum = 0.0f;
  for (int round = 0; round < 3; ++round) {
    shared.cell[t] = static_cast<float>(round);
    __syncwarp();
    sum += shared.cell[t ^ 5];
    __syncwarp();
  }
  out[t] = sum + shared.cell[kCorrect ? t ^ 1 : (t ^ 1) % 32];
}

template <bool kCorrect>
__global__ void half_warp_sync_kernel(float* out) {
  auto& shared = shared_memory<Cells>();
  const int t = thread();
  shared.cell[t] = 1.0f;
  __syncwarp(t % 32 < 16 ? 0x0000ffffu : 0xffff0000u);
  out[t] = shared.cell[kCorrect ? t ^ 15 : t & ~16];
}

template <bool kCorrect>
__global__ void shuffle_order_kernel(float* out) {
  auto& shared = shared_memory<Cells>();
  const int t = thread();
  shared.cell[t] = 1.0f;
  if constexpr (kCorrect) {
    __syncwarp();
  } else {
    out[t] = __shfl_xor_sync(0xffffffffu, 1.0f, 1);
  }
  out[t] = shared.cell[t ^ 1];
}

template <bool kCorrect>
__global__ void shared_count_kernel(float* out) {
  auto& shared = shared_memory<Cells>();
  if (thread() == 0) {
    shared.cell[0] = 0.0f;
  }
  if constexpr (kCorrect) {
    __syncthreads();
  }
  out[thread()] = atomicAdd(&shared.cell[0], 1.0f);
}

struct NarrowCells {
  std::uint8_t byte[kThreads];
  std::uint16_t half[kThreads];
};

__global__ void narrow_cells_kernel(float* out) {
  auto& shared = shared_memory<NarrowCells>();
  const int t = thread();
  shared.byte[t] = static_cast<std::uint8_t>(t);
  shared.half[t] = static_cast<std::uint16_t>(t);
  __syncthreads();
  out[t] =
      static_cast<float>(shared.byte[kThreads - 1 - t]) + static_cast<float>(shared.half[kThreads - 1 - t]);
}

template <bool kCorrect>
__global__ void divergent_barrier_kernel(float* out) {
  if (kCorrect || thread() < 32) {
    __syncthreads();
  } else {
    out[thread()] = 2.0f;
    __syncthreads();
  }
  out[thread()] = 1.0f;
}

template <bool kCorrect>
__global__ void mismatched_collective_kernel(float* out) {
  float value = 1.0f;
  if (kCorrect || thread() % 32 < 16) {
    value = __shfl_xor_sync(0xffffffffu, value, 16);
  } else {
    value = static_cast<float>(__ballot_sync(0xffffffffu, 1));
  }
  out[thread()] = value;
}

template <bool kCorrect>
__global__ void shared_bounds_kernel(float* out) {
  auto& shared = shared_memory<Cells>();
  const int t = thread();
  float* cell = shared.cell;
  cell[kCorrect ? t : t + 1] = 1.0f;
  out[t] = 1.0f;
}

__global__ void fill_kernel(float* out, int count) {
  const int index = static_cast<int>(blockIdx.x) * kThreads + thread();
  if (index < count) {
    out[index] = 1.0f;
  }
}

__global__ void fill_wide_kernel(float* out) {
  store16(out + 4 * thread(), make_uint4(1, 2, 3, 4));
}

__global__ void read_doubles_kernel(const float* in, float* out) {
  out[thread()] = static_cast<float>(reinterpret_cast<const double*>(in)[thread()]);
}

struct Row {
  float cell[20];
};

__global__ void copy_rows_kernel(const Row* in, Row* out, int count) {
  if (thread() < count) {
    out[thread()] = in[thread()];
  }
}

template <bool kCorrect>
__global__ void unwritten_cells_kernel(float* out) {
  auto& shared = shared_memory<Cells>();
  const int t = thread();
  if (kCorrect || t != 5) {
    shared.cell[t] = 1.0f;
  }
  __syncthreads();
  out[t] = shared.cell[kThreads - 1 - t];
}

__global__ void copy_kernel(const float* in, float* out, int count) {
  const int index = static_cast<int>(blockIdx.x) * kThreads + thread();
  if (index < count) {
    out[index] = in[index];
  }
}

template <bool kCorrect>
__global__ void block_rows_kernel(float* out) {
  const int row = kCorrect ? static_cast<int>(blockIdx.x) : 0;
  out[row * kThreads + thread()] = 1.0f;
}

template <bool kCorrect>
__global__ void neighbour_block_kernel(float* out) {
  const int block = static_cast<int>(blockIdx.x);
  out[block * kThreads + thread()] = 1.0f;
  __syncthreads();
  const int other = kCorrect ? block : block ^ 1;
  const float seen = out[other * kThreads + kThreads - 1 - thread()];
  __syncthreads();
  out[block * kThreads + thread()] = seen + 1.0f;
}

template <bool kCorrect>
__global__ void sum_kernel(float* total) {
  const float before = atomicAdd(total, 1.0f);
  if (!kCorrect && before == 100.0f) {
    atomicAdd(total, *total);
  }
}

__global__ void read_stride_kernel(const float* in, float* out, int stride) {
  out[thread()] = in[thread() * stride];
}

__global__ void read_same_kernel(const float* in, float* out) {
  out[thread()] = in[3];
}

struct Matrix {
  float cell[32 * 33];
};

__global__ void column_access_kernel(float* out, int pitch) {
  auto& shared = shared_memory<Matrix>();
  shared.cell[thread() * pitch] = 1.0f;
  out[thread()] = 1.0f;
}

struct alignas(16) Wide {
  float cell[32 * 16];
};

__global__ void wide_rows_kernel(float* out, int pitch) {
  auto& shared = shared_memory<Wide>();
  store16(&shared.cell[thread() * pitch], make_uint4(1, 2, 3, 4));
  const uint4 read = load16(&shared.cell[thread() * pitch]);
  out[thread()] = static_cast<float>(read.x);
}

__global__ void copy_rows_async_kernel(const float* in, float* out) {
  auto& shared = shared_memory<Wide>();
  async_copy16(&shared.cell[4 * thread()], in + 4 * thread());
  async_commit();
  async_wait<0>();
  out[thread()] = shared.cell[4 * thread()];
}

}  // namespace

RacingLines previous_cell_lines() {
  return kPreviousCellLines;
}

#define PAGELAB_START_TWIN(name, shared, ...) \
  start(twin, shared, name##_kernel<true>, name##_kernel<false>, __VA_ARGS__)

void previous_cell(Twin twin, float* out) {
  PAGELAB_START_TWIN(previous_cell, sizeof(Cells), out);
}
void next_round(Twin twin, float* out) {
  PAGELAB_START_TWIN(next_round, sizeof(Cells), out);
}
void common_flag(Twin twin, float* out) {
  PAGELAB_START_TWIN(common_flag, sizeof(Cells), out);
}
void double_buffer(Twin twin, const float* in, float* out) {
  PAGELAB_START_TWIN(double_buffer, sizeof(Tiles), in, out);
}
void copy_without_wait(Twin twin, const float* in, float* out) {
  PAGELAB_START_TWIN(copy_without_wait, sizeof(Tiles), in, out);
}
void copy_without_barrier(Twin twin, const float* in, float* out) {
  PAGELAB_START_TWIN(copy_without_barrier, sizeof(Tiles), in, out);
}
void warp_sync(Twin twin, float* out) {
  PAGELAB_START_TWIN(warp_sync, sizeof(Cells), out);
}
void half_warp_sync(Twin twin, float* out) {
  PAGELAB_START_TWIN(half_warp_sync, sizeof(Cells), out);
}
void shuffle_order(Twin twin, float* out) {
  PAGELAB_START_TWIN(shuffle_order, sizeof(Cells), out);
}
void shared_count(Twin twin, float* out) {
  PAGELAB_START_TWIN(shared_count, sizeof(Cells), out);
}
void narrow_cells(float* out) {
  start(1, kThreads, sizeof(NarrowCells), narrow_cells_kernel, out);
}

void divergent_barrier(Twin twin, float* out) {
  PAGELAB_START_TWIN(divergent_barrier, 0, out);
}
void mismatched_collective(Twin twin, float* out) {
  PAGELAB_START_TWIN(mismatched_collective, 0, out);
}

void shared_bounds(Twin twin, float* out) {
  PAGELAB_START_TWIN(shared_bounds, sizeof(Cells), out);
}
void fill(float* out, int count) {
  start((count + kThreads - 1) / kThreads, kThreads, 0, fill_kernel, out, count);
}
void fill_wide(float* out) {
  start(1, kThreads, 0, fill_wide_kernel, out);
}
void read_doubles(const float* in, float* out) {
  start(1, kThreads, 0, read_doubles_kernel, in, out);
}
void copy_rows(const float* in, float* out, int count) {
  start(1, kThreads, 0, copy_rows_kernel, reinterpret_cast<const Row*>(in), reinterpret_cast<Row*>(out),
        count);
}

void unwritten_cells(Twin twin, float* out) {
  PAGELAB_START_TWIN(unwritten_cells, sizeof(Cells), out);
}
void copy(const float* in, float* out, int count) {
  start((count + kThreads - 1) / kThreads, kThreads, 0, copy_kernel, in, out, count);
}

void block_rows(Twin twin, float* out) {
  start(4, kThreads, 0, twin == Twin::correct ? block_rows_kernel<true> : block_rows_kernel<false>, out);
}
void neighbour_block(Twin twin, float* out) {
  start(4, kThreads, 0, twin == Twin::correct ? neighbour_block_kernel<true> : neighbour_block_kernel<false>,
        out);
}
void sum(Twin twin, float* total) {
  start(4, kThreads, 0, twin == Twin::correct ? sum_kernel<true> : sum_kernel<false>, total);
}

void read_stride(const float* in, float* out, int stride) {
  start(1, 32, 0, read_stride_kernel, in, out, stride);
}
void read_same(const float* in, float* out) {
  start(1, 32, 0, read_same_kernel, in, out);
}
void column_access(float* out, int pitch) {
  start(1, 32, sizeof(Matrix), column_access_kernel, out, pitch);
}
void wide_rows(float* out) {
  start(1, 32, sizeof(Wide), wide_rows_kernel, out, 4);
}
void wide_column(float* out) {
  start(1, 32, sizeof(Wide), wide_rows_kernel, out, 16);
}
void copy_rows_async(const float* in, float* out) {
  start(1, 32, sizeof(Wide), copy_rows_async_kernel, in, out);
}

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
