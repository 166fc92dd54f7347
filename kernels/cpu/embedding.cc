#include "kernels/cpu/embedding.h"

#include <cstring>

#include "kernels/cpu/row_blocks.h"

namespace pagelab::kernels::cpu {

void embedding(ThreadPool& pool, const PackedMatrix& table, std::span<const std::int32_t> ids, Tensor out,
               bool accumulate) {
  // A token's values stand a cache line apart, so a row costs as much as a whole item of other work.
  constexpr std::int64_t kCostPerValue = 8;
  for_each_row(pool, out.rows, kCostPerValue * out.cols,
               [&](std::int32_t row) { table.read_row(ids[row], out.row(row), accumulate); });
}

void gather_rows(ThreadPool& pool, Tensor x, std::span<const std::int32_t> rows, Tensor out) {
  for_each_row(pool, out.rows, out.cols, [&](std::int32_t row) {
    std::memcpy(out.row(row), x.row(rows[row]), static_cast<std::size_t>(x.cols) * sizeof(float));
  });
}

}  // namespace pagelab::kernels::cpu
