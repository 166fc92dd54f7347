#include "kernels/cuda/kv_blocks.h"

#include "kernels/cuda/launch.h"
#include "kernels/cuda/vectors.cuh"

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {
namespace {

constexpr int kRun = 8;  ///< numbers a thread moves at a time: 16 bytes of a 16-bit type
constexpr unsigned kCopyThreads = 256;
constexpr int kVector = 16;  ///< bytes

/// One block of threads per token; a thread takes runs of K or V, none of which crosses a head's end.
template <class T>
__global__ void __launch_bounds__(256)
    write_kv_kernel(const float* __restrict__ qkv, std::int32_t heads, PagedKv kv,
                    const std::int32_t* __restrict__ slot_mapping) {
  const std::int64_t token = blockIdx.x;
  const std::int32_t slot = slot_mapping[token];
  const std::int32_t offset = slot % kv.block_size;
  const std::int64_t block = static_cast<std::int64_t>(slot / kv.block_size) * kv.block_stride;
  const std::int32_t head_runs = kv.head_size / kRun;
  const std::int32_t runs = kv.kv_heads * head_runs;
  const float* row = qkv + (token * (heads + 2 * kv.kv_heads) + heads) * kv.head_size;
  for (std::int32_t run = threadIdx.x; run < 2 * runs; run += blockDim.x) {
    const bool is_key = run < runs;
    const std::int32_t own = is_key ? run : run - runs;
    const std::int32_t head = own / head_runs;
    const std::int32_t d = (own - head * head_runs) * kRun;
    float values[kRun];
    load(row + static_cast<std::int64_t>(run) * kRun, values);
    T* target = static_cast<T*>(is_key ? kv.keys : kv.values) + block;
    store(target + (static_cast<std::int64_t>(head) * kv.block_size + offset) * kv.head_size + d, values);
  }
}

/// One block of threads per piece of a copy; a thread has all its loads in flight before the first store.
template <int kVectors>
__global__ void __launch_bounds__(kCopyThreads)
    copy_blocks_kernel(const std::byte* __restrict__ source, std::byte* __restrict__ target,
                       std::int64_t block_bytes, const BlockCopy* __restrict__ copies, std::uint32_t pieces) {
  const BlockCopy copy = copies[blockIdx.x / pieces];
  const std::int64_t piece = blockIdx.x % pieces;
  const std::int64_t begin = (piece * kVectors * kCopyThreads + threadIdx.x) * kVector;
  const std::byte* from = source + copy.source * block_bytes;
  std::byte* to = target + copy.target * block_bytes;
  uint4 vectors[kVectors];
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const std::int64_t byte = begin + static_cast<std::int64_t>(i) * kCopyThreads * kVector;
    if (byte < block_bytes) {
      vectors[i] = load16_streaming(from + byte);
    }
  }
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const std::int64_t byte = begin + static_cast<std::int64_t>(i) * kCopyThreads * kVector;
    if (byte < block_bytes) {
      store16(to + byte, vectors[i]);
    }
  }
}

template <int kVectors>
void launch_copies(cudaStream_t stream, const void* source, void* target, std::int64_t block_bytes,
                   const BlockCopy* copies, std::int32_t count) {
  constexpr std::int64_t kPieceBytes = std::int64_t{kVectors} * kCopyThreads * kVector;
  const auto pieces = static_cast<std::uint32_t>((block_bytes + kPieceBytes - 1) / kPieceBytes);
  launch(stream, dim3(pieces * static_cast<std::uint32_t>(count)), dim3(kCopyThreads), 0,
         copy_blocks_kernel<kVectors>, static_cast<const std::byte*>(source), static_cast<std::byte*>(target),
         block_bytes, copies, pieces);
}

}  // namespace

void write_kv(cudaStream_t stream, const float* qkv, std::int32_t heads, const PagedKv& kv,
              const std::int32_t* slot_mapping, std::int32_t tokens) {
  const unsigned threads = row_threads(2 * kv.kv_heads * kv.head_size / kRun, 256);
  with_storage_type(kv.dtype, [&](auto zero) {
    launch(stream, dim3(static_cast<unsigned>(tokens)), dim3(threads), 0, write_kv_kernel<decltype(zero)>,
           qkv, heads, kv, slot_mapping);
  });
}

void copy_blocks(cudaStream_t stream, const void* source, void* target, std::int64_t block_bytes,
                 const BlockCopy* copies, std::int32_t count) {
  // Long pieces keep eight loads of a thread in flight; where that leaves multiprocessors without work (a
  // device has some hundred), short ones spread the copy out.
  constexpr std::int64_t kSpreadBelow = std::int64_t{8} << 20;
  if (block_bytes * count < kSpreadBelow) {
    launch_copies<1>(stream, source, target, block_bytes, copies, count);
  } else {
    launch_copies<8>(stream, source, target, block_bytes, copies, count);
  }
}

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
