// Where the rows of K and V of a sequence lie: PagedSource through the page table, ContiguousSource by
// arithmetic. Decode kernels take one or the other as a parameter and are the same code otherwise. Plain
// values that the host makes; nothing here owns memory.
#pragma once

#include <cstdint>

#include "kernels/cuda/decode_attention.h"
#include "kernels/cuda/primitives.cuh"

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {

/// Positions are divided by the block size s through m = ceil(2^31 / s): position * m / 2^31 is too large by
/// less than position / 2^31, which does not reach the next integer while position < 2^31 / s, so for
/// positions below 2^23.
inline constexpr int kReciprocalShift = 31;

/// KV of all sequences through a page table.
class PagedSource {
 public:
  PagedSource(const PagedKv& kv, const DeviceBatch& batch)
      : keys(kv.keys),
        values(kv.values),
        query_indptr_(batch.query_indptr),
        kv_indptr_(batch.kv_indptr),
        kv_indices_(batch.kv_indices),
        block_stride_(kv.block_stride),
        block_size_(kv.block_size),
        head_size_(kv.head_size),
        reciprocal_(static_cast<std::uint32_t>(((std::uint64_t{1} << kReciprocalShift) + kv.block_size - 1) /
                                               static_cast<std::uint64_t>(kv.block_size))) {}

  /// The rows of one sequence and kv head.
  struct Rows {
    const std::int32_t* blocks;
    std::int64_t block_stride;
    std::int64_t head;  ///< elements from a block's start to the head's first slot
    std::uint32_t reciprocal;
    std::int32_t block_size;
    std::int32_t head_size;

    /// The page table's entry for a position within the context. To be read well before offset() needs it.
    __device__ std::int32_t entry(std::int32_t position) const { return blocks[block(position)]; }
    /// Elements from `keys` (or `values`) to the row of a position, given its entry.
    __device__ std::int64_t offset(std::int32_t entry, std::int32_t position) const {
      return entry * block_stride + head + (position - block(position) * block_size) * head_size;
    }

   private:
    __device__ std::int32_t block(std::int32_t position) const {
      return static_cast<std::int32_t>(
          static_cast<std::uint64_t>(static_cast<std::uint32_t>(position)) * reciprocal >> kReciprocalShift);
    }
  };

  __device__ Rows rows(std::int32_t sequence, std::int32_t head) const {
    return {kv_indices_ + kv_indptr_[sequence],
            block_stride_,
            std::int64_t{head} * block_size_ * head_size_,
            reciprocal_,
            block_size_,
            head_size_};
  }
  /// The row of `queries` that belongs to a sequence with one new token.
  __device__ std::int32_t token(std::int32_t sequence) const { return query_indptr_[sequence]; }

  const void* keys;
  const void* values;

 private:
  const std::int32_t* query_indptr_;
  const std::int32_t* kv_indptr_;
  const std::int32_t* kv_indices_;
  std::int64_t block_stride_;
  std::int32_t block_size_;
  std::int32_t head_size_;
  std::uint32_t reciprocal_;
};

/// KV of all sequences as ContiguousKv keeps it.
class ContiguousSource {
 public:
  explicit ContiguousSource(const ContiguousKv& kv)
      : keys(kv.keys),
        values(kv.values),
        max_length_(kv.max_length),
        kv_heads_(kv.kv_heads),
        head_size_(kv.head_size) {}

  struct Rows {
    std::int64_t head;  ///< elements to the first row
    std::int32_t head_size;

    __device__ std::int32_t entry(std::int32_t) const { return 0; }
    __device__ std::int64_t offset(std::int32_t, std::int32_t position) const {
      return head + std::int64_t{position} * head_size;
    }
  };

  __device__ Rows rows(std::int32_t sequence, std::int32_t head) const {
    return {(std::int64_t{sequence} * kv_heads_ + head) * max_length_ * head_size_, head_size_};
  }
  __device__ std::int32_t token(std::int32_t sequence) const { return sequence; }

  const void* keys;
  const void* values;

 private:
  std::int32_t max_length_;
  std::int32_t kv_heads_;
  std::int32_t head_size_;
};

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
