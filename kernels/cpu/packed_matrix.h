// PackedMatrix: a weight [N, K] in the order in which the matrix product reads it, in f32, bf16 or f16. It is
// the only copy of the weight in memory and serves embedding lookups too. Owns its memory; immutable once
// made.
//
// The rows of the weight (the columns of the product) are cut into panels of 32. A panel holds, for k = 0, 1,
// ..., the 32 values of that k side by side, so a panel is one stream. f32 and f16 values stand in order;
// bf16 values stand in pairs (j, j + 16) that fill one 32-bit word, low half first: a shift and a mask of one
// loaded vector widen it to two vectors of f32. Panels follow each other without gaps; the last is padded
// with zeros.
#pragma once

#include <span>

#include "kernels/cpu/huge_memory.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/ops.h"

namespace pagelab::kernels::cpu {

/// Rows of the weight in one panel.
inline constexpr std::int32_t kPanelWidth = 32;

class PackedMatrix final : public Weight {
 public:
  /// Packs `parts`, stacked by rows, rounding to `storage`. Requires at least one part, all of one cols.
  /// Throws std::bad_alloc.
  PackedMatrix(ThreadPool& pool, std::span<const HostTensor> parts, DType storage);

  std::int64_t rows() const override { return rows_; }
  std::int64_t cols() const override { return cols_; }
  DType dtype() const { return dtype_; }
  std::int64_t panels() const { return (rows_ + kPanelWidth - 1) / kPanelWidth; }
  /// Bytes of the values of one k in a panel.
  std::int64_t step_bytes() const { return kPanelWidth * static_cast<std::int64_t>(size_of(dtype_)); }
  std::int64_t panel_bytes() const { return cols_ * step_bytes(); }
  const std::byte* panel(std::int64_t index) const { return memory_.data() + index * panel_bytes(); }

  /// Adds (or writes) row `row` to out [cols()]. Requires 0 <= row < rows().
  void read_row(std::int64_t row, float* out, bool accumulate) const;

 private:
  void pack_panel(std::span<const HostTensor> parts, std::int64_t panel);

  std::int64_t rows_ = 0;
  std::int64_t cols_ = 0;
  DType dtype_;
  HugeMemory memory_;
};

}  // namespace pagelab::kernels::cpu
