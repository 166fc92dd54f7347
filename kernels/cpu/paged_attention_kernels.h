// The vector code of paged attention: one partition of a sequence's context against some rows of queries.
// Chosen at run time for the machine's instruction set. Allocates nothing and knows no batch: PagedAttention
// lays out the work. Internal to the CPU backend.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/ops.h"

namespace pagelab::kernels::cpu {

/// Tokens of a sequence that are attended to as one: the unit in which a context is split.
inline constexpr std::int32_t kPartitionTokens = 256;
/// Query rows of one kv head that share the K and V of a partition, at most.
inline constexpr std::int32_t kRowsPerChunk = 48;
/// Floats between the scores of neighbouring rows; not a power of two, for the sake of the L1 cache.
inline constexpr std::int32_t kScoreStride = kPartitionTokens + 16;

/// Where a partition's K and V lie: for each of its tokens the address of dimension 0 of head 0.
struct PartitionAddresses {
  const std::byte* keys[kPartitionTokens];
  const std::byte* values[kPartitionTokens];
};

/// Softmax state of rows over the partitions seen so far, in base 2: sum = sum 2^(s - max), acc = sum 2^(s -
/// max) V.
struct RowStates {
  float* max;  ///< [rows]
  float* sum;  ///< [rows]
  float* acc;  ///< [rows, head_size]
};

/// One partition for `kv_heads` neighbouring heads, each with the same `rows` query rows, ordered by
/// position.
struct PartitionTask {
  DType dtype;
  std::int32_t head_size;
  std::int32_t first_head;
  std::int32_t kv_heads;       ///< number of kv heads from first_head on
  std::int32_t rows;           ///< query rows per kv head
  std::int32_t tile_width;     ///< elements between dimensions of K (KvCache::tile_width)
  std::int64_t head_stride;    ///< elements between heads
  const std::int32_t* limits;  ///< [rows] tokens of the partition that a row sees; never falling, may be <= 0
  const float* q;              ///< as pack_queries() leaves it
  const PartitionAddresses* addresses;
  const PartitionAddresses* next;  ///< the partition that comes next, for prefetching; may be null
  float* scores;                   ///< scratch [kv_heads * rows, kScoreStride]
  std::byte* staging;              ///< scratch of staging_bytes(head_size)
};

/// Scratch for K that is not stored in tiles.
constexpr std::size_t staging_bytes(std::int32_t head_size) {
  return std::size_t{4} * 16 * static_cast<std::size_t>(head_size) * sizeof(float);
}

/// Copies `rows` query rows of one kv head, times `factor`, into the order that the score kernels read.
/// `q` gives each row's address.
void pack_queries(const float* const* q, std::int32_t rows, std::int32_t head_size, float factor,
                  float* packed);

/// Computes the partition alone into `states` ([kv_heads * rows], head-major); rows with limit <= 0 are left
/// as they are.
void attend_partition(const PartitionTask& task, const RowStates& states);

/// Adds the softmax weights that the rows of the task give to each token of the partition to `weights`, each
/// rounded to a multiple of 2^-23. `max` and `sum` [kv_heads * rows] are the rows' softmax over their whole
/// contexts, as RowStates has it.
void add_partition_weights(const PartitionTask& task, const float* max, const float* sum, double* weights);

/// Merges one row's state of the next partition into its state of all earlier ones.
void merge_state(float& max, float& sum, float* acc, float next_max, float next_sum, const float* next_acc,
                 std::int32_t head_size);

/// out = acc / sum.
void finish_row(const float* acc, float sum, float* out, std::int32_t head_size);

}  // namespace pagelab::kernels::cpu
