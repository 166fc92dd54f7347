// Attention of query rows to one partition of a context, in three passes over it: scores (K), weights
// (softmax in base 2), outputs (V). And, apart, the weights that each token of the partition gets in the end.
// Included once per target by paged_attention_kernels.cc.
#if defined(PAGELAB_KERNELS_CPU_PAGED_ATTENTION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PAGELAB_KERNELS_CPU_PAGED_ATTENTION_INL_H_
#undef PAGELAB_KERNELS_CPU_PAGED_ATTENTION_INL_H_
#else
#define PAGELAB_KERNELS_CPU_PAGED_ATTENTION_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstring>

#include "kernels/cpu/paged_attention_kernels.h"
#include "kernels/cpu/paged_attention_staging-inl.h"
#include "kernels/cpu/paged_attention_tiles-inl.h"

HWY_BEFORE_NAMESPACE();
namespace pagelab::kernels::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// The three passes of one task.
template <class T>
class Partition {
 public:
  Partition(const PartitionTask& task, const RowStates& states)
      : task_(task), states_(states), tokens_(task.limits[task.rows - 1]) {}

  void run() const {
    score();
    for (std::int32_t row = 0; row < task_.kv_heads * task_.rows; ++row) {
      const std::int32_t limit = task_.limits[row % task_.rows];
      if (limit > 0) {
        weigh(scores(row), limit, states_.max[row], states_.sum[row]);
        std::memset(acc(row), 0, static_cast<std::size_t>(task_.head_size) * sizeof(float));
      }
    }
    add_all_values();
  }

  /// Given the rows' softmax over their whole contexts.
  void add_weights(const float* max, const float* sum, double* weights) const {
    score();
    for (std::int32_t row = 0; row < task_.kv_heads * task_.rows; ++row) {
      const std::int32_t limit = task_.limits[row % task_.rows];
      if (limit > 0) {
        share_out(scores(row), limit, max[row], sum[row]);
      }
      for (std::int32_t token = 0; token < limit; ++token) {
        weights[token] += static_cast<double>(scores(row)[token]);
      }
    }
  }

 private:
  void score() const {
    if (task_.rows == 1) {
      score_single_rows();
    } else {
      score_row_tiles();
    }
  }

  float* scores(std::int32_t row) const { return task_.scores + std::ptrdiff_t{row} * kScoreStride; }
  float* acc(std::int32_t row) const { return states_.acc + std::ptrdiff_t{row} * task_.head_size; }
  const float* packed_q(std::int32_t head, std::int32_t row) const {
    return task_.q + (std::ptrdiff_t{head} * task_.rows + row) * task_.head_size;
  }
  /// From dimension 0 of head 0 to that of the task's head `head`.
  std::ptrdiff_t head_offset(std::int32_t head) const {
    return static_cast<std::ptrdiff_t>(task_.first_head + head) * task_.head_stride *
           static_cast<std::ptrdiff_t>(sizeof(T));
  }

  /// The K tile of tokens 16 * tile on: in place if stored as a tile, else gathered into staging area `area`.
  const T* key_tile(std::int32_t tile, std::int32_t head, std::int32_t area) const {
    const std::byte* const* keys = task_.addresses->keys + std::ptrdiff_t{tile} * kTileTokens;
    if (task_.tile_width == kTileTokens) {
      return reinterpret_cast<const T*>(keys[0] + head_offset(head));
    }
    T* staged = reinterpret_cast<T*>(task_.staging) + std::ptrdiff_t{area} * task_.head_size * kTileTokens;
    gather_tile(keys, std::min(kTileTokens, tokens_ - tile * kTileTokens), head_offset(head),
                task_.tile_width, task_.head_size, staged);
    return staged;
  }

  std::int32_t tile_count() const { return (tokens_ + kTileTokens - 1) / kTileTokens; }

  enum class Pass : std::uint8_t { keys, values };

  /// The tile `steps` steps after (tile, head) in the walk: all heads of `width` tiles, then of the next
  /// `width`; first K, then V, then K of the next partition.
  const std::byte* tile_ahead(Pass pass, std::int32_t tile, std::int32_t head, std::int32_t width,
                              std::int32_t steps) const {
    const std::byte* const* rows = pass == Pass::keys ? task_.addresses->keys : task_.addresses->values;
    std::int32_t tiles = tile_count();
    for (head += steps; head >= task_.kv_heads; head -= task_.kv_heads) {
      tile += width;
    }
    if (tile >= tiles) {
      tile %= width;
      if (pass == Pass::keys) {
        rows = task_.addresses->values;
      } else if (task_.next != nullptr) {
        rows = task_.next->keys;
        tiles = 1;
      }
    }
    return rows[std::min(tile, tiles - 1) * kTileTokens] + head_offset(head);
  }

  /// One row a head: several heads side by side keep the multipliers busy.
  void score_single_rows() const {
    constexpr std::int32_t kSide = 4;
    KeyTile<T> side[kSide];
    std::int32_t filled = 0;
    for (std::int32_t tile = 0; tile < tile_count(); ++tile) {
      for (std::int32_t head = 0; head < task_.kv_heads; ++head) {
        side[filled] = {key_tile(tile, head, filled), packed_q(head, 0), scores(head) + tile * kTileTokens,
                        tile_ahead(Pass::keys, tile, head, 1, kTilesAhead)};
        if (++filled == kSide) {
          score_tiles<T, 1, kSide, false>(side, task_.head_size);
          filled = 0;
        }
      }
    }
    for (std::int32_t i = 0; i < filled; ++i) {
      score_tiles<T, 1, 1, true>(side + i, task_.head_size);
    }
  }

  /// Several rows a head: two tiles of a head at a time against all its rows.
  void score_row_tiles() const {
    const std::int32_t tiles = tile_count();
    for (std::int32_t tile = 0; tile < tiles; tile += 2) {
      const std::int32_t here = std::min(2, tiles - tile);
      for (std::int32_t head = 0; head < task_.kv_heads; ++head) {
        KeyTile<T> two[2];
        for (std::int32_t i = 0; i < here; ++i) {
          two[i].keys = key_tile(tile + i, head, i);
          two[i].ahead = tile_ahead(Pass::keys, tile + i, head, 2, kPairsAhead);
        }
        for_each_row_tile(task_.rows, [&](std::int32_t first, auto count) {
          if (task_.limits[first + count - 1] <= tile * kTileTokens) {
            return;
          }
          for (std::int32_t i = 0; i < here; ++i) {
            two[i].q = packed_q(head, first);
            two[i].scores = scores(head * task_.rows + first) + (tile + i) * kTileTokens;
          }
          if (here == 2) {
            score_tiles<T, count, 2, true>(two, task_.head_size);
          } else {
            score_tiles<T, count, 1, true>(two, task_.head_size);
          }
        });
      }
    }
  }

  /// Walks as the scores do, so that memory is read in the order in which it lies.
  void add_all_values() const {
    const std::int32_t width = task_.rows == 1 ? 1 : 2;
    const std::int32_t steps = task_.rows == 1 ? kTilesAhead : kPairsAhead;
    for (std::int32_t tile = 0; tile < tile_count(); tile += width) {
      for (std::int32_t head = 0; head < task_.kv_heads; ++head) {
        ValueRun run{task_.addresses->values + std::ptrdiff_t{tile} * kTileTokens, head_offset(head), {}, 0};
        for (std::int32_t i = 0; i < width; ++i) {
          run.ahead[i] = tile_ahead(Pass::values, tile + i, head, width, steps);
        }
        for_each_row_tile(task_.rows, [&](std::int32_t first, auto count) {
          add_run<count>(run, tile * kTileTokens, width * kTileTokens, head, first);
          run.ahead[0] = nullptr;  // fetched once
        });
      }
    }
  }

  /// Tokens [token, token + step) for a tile of rows: those that all rows see together, the rest row by row.
  template <std::int32_t kRows>
  void add_run(ValueRun run, std::int32_t token, std::int32_t step, std::int32_t head,
               std::int32_t first) const {
    const std::int32_t row0 = head * task_.rows + first;
    const std::int32_t common = std::clamp(task_.limits[first] - token, 0, step);
    if (common > 0) {
      run.count = common;
      add_values_of_head<T, kRows>(run, scores(row0) + token, task_.head_size, acc(row0));
    }
    if constexpr (kRows > 1) {
      run.ahead[0] = nullptr;
      run.rows += common;
      for (std::int32_t row = 1; row < kRows; ++row) {
        run.count = std::clamp(task_.limits[first + row] - token, 0, step) - common;
        if (run.count > 0) {
          add_values_of_head<T, 1>(run, scores(row0 + row) + token + common, task_.head_size,
                                   acc(row0 + row));
        }
      }
    }
  }

  const PartitionTask& task_;
  const RowStates& states_;
  const std::int32_t tokens_;
};

}  // namespace HWY_NAMESPACE
}  // namespace pagelab::kernels::cpu
HWY_AFTER_NAMESPACE();

#endif
