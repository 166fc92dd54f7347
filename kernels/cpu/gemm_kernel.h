// The inner loops of the matrix product, chosen at run time for the machine's instruction set. Pure functions
// on memory that the caller owns; gemm.h cuts a product into these tiles.
//
// Every element of a tile is one f32 accumulator that takes its products in the order of k with fused
// multiply-adds, whatever the tile's height: a row's result does not depend on the rows computed beside it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/ops.h"

namespace pagelab::kernels::cpu {

/// Rows of x that are interleaved in memory: value (row r, k) of a packed group is at [k * 4 + r].
inline constexpr std::int32_t kRowGroup = 4;

/// `rows` rows of x times one panel of weights, over `k` values of k.
struct GemmTile {
  std::int32_t rows = 0;     ///< 1 .. max_tile_rows()
  const float* x = nullptr;  ///< the first row group, at the first k of this tile
  std::int64_t x_step =
      kRowGroup;             ///< floats from one k to the next: kRowGroup, or 1 for a lone unpacked row
  std::int64_t x_group = 0;  ///< floats from one row group to the next
  DType dtype = DType::f32;  ///< of the weights
  const std::byte* weights = nullptr;
  std::int64_t k = 0;
  bool first = true;                    ///< accumulators start at zero rather than at what `sums` holds
  float* sums = nullptr;                ///< [rows, kPanelWidth]
  const std::byte* prefetch = nullptr;  ///< weights that a later tile will read
  std::int64_t prefetch_steps = 0;      ///< values of k of it, fetched while this tile computes; at most k
};

/// What happens to the finished sums of a tile.
struct GemmFinish {
  std::int32_t rows = 0;
  std::int32_t cols = 0;        ///< 1 .. kPanelWidth
  const float* sums = nullptr;  ///< [rows, kPanelWidth]
  const float* bias = nullptr;  ///< [cols] or null
  Activation activation = Activation::none;
  bool accumulate = false;  ///< add to out rather than write it
  float* out = nullptr;
  std::int64_t out_stride = 0;  ///< floats from one row of out to the next
};

/// The tallest tile of this machine, a multiple of kRowGroup.
std::int32_t max_tile_rows();
void accumulate_tile(const GemmTile& tile);
void finish_tile(const GemmFinish& finish);
/// Interleaves `rows` (1 .. kRowGroup) rows of x, `stride` floats apart, into packed [k, kRowGroup]; missing
/// rows are zero.
void pack_rows(const float* x, std::int64_t stride, std::int32_t rows, std::int64_t k, float* packed);

}  // namespace pagelab::kernels::cpu
