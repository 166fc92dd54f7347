// AttentionPlan: how the attention of one step is cut into pieces of work, decided once per step on the host
// and used by every layer. Sequences with one new token go to the decode kernel, longer chunks to the prefill
// kernel. A decode over a long context is split into partitions that run side by side and are merged
// afterwards (FlashDecoding); the fewer sequences there are, the more partitions. Owns its arrays, which stop
// growing once warm; knows no device memory: the caller uploads the arrays.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/cuda/tensor_views.h"

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {

/// One block of threads (per kv head) of the decode kernel: positions [begin, end) of a sequence's context.
struct DecodeItem {
  std::int32_t sequence;
  std::int32_t begin;
  std::int32_t end;
  std::int32_t partial;  ///< where in the workspace its result goes; -1: the only one, written to `out`
};

/// The partitions of one sequence to merge: partials [first, first + count).
struct MergeItem {
  std::int32_t sequence;
  std::int32_t first;
  std::int32_t count;
};

/// One block of threads (per head) of the prefill kernel: query rows [row, row + kPrefillRows) of a chunk.
struct PrefillItem {
  std::int32_t sequence;
  std::int32_t row;  ///< from the start of the chunk
};

/// Query rows that one block of the prefill kernel takes.
inline constexpr std::int32_t kPrefillRows = 64;

/// Partitions begin at multiples of this: one round of every decode kernel's warps, so that none idles but in
/// the last round of a sequence.
inline constexpr std::int32_t kPartitionGranule = 64;
/// Positions of a partition at least, unless it is the sequence's only one. The merge is a second launch,
/// about 2 us; a multiprocessor that has the memory to itself (64 bytes a clock) reads this many positions of
/// 512 bytes of K and V in 1.5 us, so splitting a context that is not longer cannot pay.
inline constexpr std::int32_t kMinPartition = 256;
/// Blocks of threads per multiprocessor that the plan aims at: four blocks of either decode kernel, resident
/// or one after the other, keep more bytes under way than latency * bandwidth asks for (decode_simt.cuh,
/// decode_mma.cuh).
inline constexpr std::int32_t kBlocksPerMultiprocessor = 4;

class AttentionPlan {
 public:
  /// `multiprocessors` of the device. Reads query_indptr, kv_indptr and last_block_len. Sequences without new
  /// tokens get no work. With D decodes and W = kBlocksPerMultiprocessor * multiprocessors there are at most
  /// D + max(1, W / kv_heads) decode items; those of one sequence are consecutive, differ by at most one
  /// granule (the last one's tail apart), and cover its context exactly.
  void build(const AttentionBatch& batch, std::int32_t block_size, std::int32_t kv_heads,
             std::int32_t multiprocessors);

  std::span<const DecodeItem> decodes() const { return decodes_; }
  std::span<const MergeItem> merges() const { return merges_; }
  std::span<const PrefillItem> prefills() const { return prefills_; }
  /// Partial results of the plan.
  std::int32_t partials() const { return partials_; }

 private:
  void split(std::int32_t sequence, std::int32_t context, std::int32_t partition);

  std::vector<DecodeItem> decodes_;
  std::vector<MergeItem> merges_;
  std::vector<PrefillItem> prefills_;
  std::int32_t partials_ = 0;
};

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
