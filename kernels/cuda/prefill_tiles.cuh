// What the two kernels of prefill attention share: which rows a block of threads serves, and how it walks
// over the K and V that those rows see, tile by tile, through the page table.
//
// One block takes kPrefillRows query rows of one chunk and one query head. The heads of a group are
// neighbours in the grid, so that they run at the same time and all but one of them find their K and V in L2;
// packing them into one block instead would save nothing, since 64 rows already do 64 multiply-adds per
// element of K that they stage, and it would tie the rows of a tile to the group's size.
//
// Tiles begin at multiples of kKeys from position 0 whatever the chunk, so the arithmetic of a row depends on
// nothing but its own position.
#pragma once

#include <bit>
#include <cstdint>

#include "kernels/cuda/attention_plan.h"
#include "kernels/cuda/primitives.cuh"
#include "kernels/cuda/row_layout.cuh"
#include "kernels/cuda/tensor_views.h"

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {

inline constexpr int kPrefillThreads = 128;
inline constexpr int kPrefillWarps = kPrefillThreads / 32;
inline constexpr int kWarpRows = kPrefillRows / kPrefillWarps;

/// The rows of one block of threads. Those of a warp are consecutive: kWarpRows * warp + 0 ..
struct PrefillRows {
  int token;                      ///< of the first row, in the order of the step's tokens
  int count;                      ///< 1 .. kPrefillRows
  const std::int32_t* positions;  ///< [count], rising
  const std::int32_t* blocks;     ///< the sequence's physical blocks
  int last_position;              ///< that any row sees

  __device__ PrefillRows(const DeviceBatch& batch, const PrefillItem& item) {
    const int first = batch.query_indptr[item.sequence];
    const int chunk = batch.query_indptr[item.sequence + 1] - first;
    token = first + item.row;
    count = chunk - item.row < kPrefillRows ? chunk - item.row : kPrefillRows;
    positions = batch.positions + token;
    blocks = batch.kv_indices + batch.kv_indptr[item.sequence];
    last_position = positions[count - 1];
  }

  /// Rows beyond the last one repeat it; their results are not written.
  __device__ int clamp(int row) const { return row < count ? row : count - 1; }
  __device__ int position(int row) const { return positions[clamp(row)]; }
};

/// The positions that the rows of a warp see: all of its rows [0, every], none beyond `any`.
struct VisibleToWarp {
  int every;
  int any;

  /// A warp without a row sees nothing.
  __device__ VisibleToWarp(const PrefillRows& rows, int first_row)
      : every(rows.position(first_row)),
        any(first_row < rows.count ? rows.position(first_row + kWarpRows - 1) : -1) {}
};

/// Two stages of K and V tiles, and where in the pool the rows of the tiles to be staged next lie.
template <class T, int kHeadSize, int kKeys>
struct KvStages {
  using Layout = RowLayout<T, kHeadSize>;
  struct Stage {
    uint4 keys[kKeys * Layout::kChunks];
    uint4 values[kKeys * Layout::kChunks];
  };

  Stage stages[2];
  std::int64_t slots[2][kKeys];  ///< elements from the start of the pool; -1: no row sees it
};

/// Rows of a tile that the threads of a block copy at once: a power of two, mostly 8, so that a thread's
/// chunk is permuted alike in all of its rows.
template <int kChunks>
inline constexpr int kRowsAtOnce = std::bit_floor(static_cast<unsigned>(kPrefillThreads / kChunks));

/// Where the K and V of `position` lie.
__device__ inline std::int64_t slot_offset(const PagedKv& kv, const PrefillRows& rows, int kv_head,
                                           int position) {
  if (position > rows.last_position) {
    return -1;
  }
  const auto size = static_cast<unsigned>(kv.block_size);
  const unsigned block = static_cast<unsigned>(position) / size;
  const unsigned row =
      static_cast<unsigned>(kv_head) * size + (static_cast<unsigned>(position) - block * size);
  return rows.blocks[block] * kv.block_stride + row * static_cast<unsigned>(kv.head_size);
}

/// Starts copying a tile of K and V: consecutive threads copy consecutive chunks, 16 bytes each, some whole
/// rows at a time, so that a thread keeps its chunk. Slots that no row sees are not read; zeros arrive in
/// their place.
template <class T, int kHeadSize, int kKeys>
__device__ void stage_tile(KvStages<T, kHeadSize, kKeys>& shared, const PagedKv& kv, int index) {
  using Layout = RowLayout<T, kHeadSize>;
  constexpr int kRows = kRowsAtOnce<Layout::kChunks>;
  static_assert(kKeys % kRows == 0);
  const int first = static_cast<int>(threadIdx.x) / Layout::kChunks;
  const int chunk = static_cast<int>(threadIdx.x) % Layout::kChunks;
  if (first >= kRows) {
    return;
  }
  const T* keys = static_cast<const T*>(kv.keys);
  const T* values = static_cast<const T*>(kv.values);
  auto& stage = shared.stages[index];
#pragma unroll
  for (int i = 0; i < kKeys; i += kRows) {
    const int row = first + i;
    const std::int64_t slot = shared.slots[index][row];
    const bool valid = slot >= 0;
    const std::int64_t offset = valid ? slot + chunk * Layout::kElements : 0;
    const int target = Layout::at(row, chunk);
    async_copy16(&stage.keys[target], keys + offset, valid);
    async_copy16(&stage.values[target], values + offset, valid);
  }
}

/// Calls compute(stage, first position of the tile) for every tile that a row of the block sees, in rising
/// order. While one tile is computed the next one is on its way, and the page table is read for the one after
/// that, once per row of the tile. One barrier a tile: it tells that the tile has arrived and that nobody
/// reads the stage, or the slots, that are filled next. All threads of the block come here.
template <class T, int kHeadSize, int kKeys, class Compute>
__device__ void for_each_tile(KvStages<T, kHeadSize, kKeys>& shared, const PagedKv& kv,
                              const PrefillRows& rows, int kv_head, Compute compute) {
  static_assert(kKeys <= kPrefillThreads);
  const int thread = static_cast<int>(threadIdx.x);
  const int tiles = rows.last_position / kKeys + 1;
  if (thread < kKeys) {
    shared.slots[0][thread] = slot_offset(kv, rows, kv_head, thread);
    shared.slots[1][thread] = slot_offset(kv, rows, kv_head, kKeys + thread);
  }
  __syncthreads();
  stage_tile(shared, kv, 0);
  async_commit();
  for (int tile = 0; tile < tiles; ++tile) {
    async_wait<0>();
    __syncthreads();
    if (tile + 1 < tiles) {
      stage_tile(shared, kv, (tile + 1) % 2);
      async_commit();
    }
    const std::int64_t slot =
        thread < kKeys ? slot_offset(kv, rows, kv_head, (tile + 2) * kKeys + thread) : -1;
    compute(shared.stages[tile % 2], tile * kKeys);
    if (thread < kKeys) {
      shared.slots[tile % 2][thread] = slot;
    }
  }
}

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
