// Shares out the rows of a matrix among threads in runs that are worth an item of work.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/cpu/thread_pool.h"

namespace pagelab::kernels::cpu {

/// Calls body(row) once for every row of a matrix of `rows` rows and `cols` columns.
template <class Body>
void for_each_row(ThreadPool& pool, std::int64_t rows, std::int64_t cols, Body&& body) {
  constexpr std::int64_t kWorthwhile = 4096;  // elements: about a microsecond of work
  const std::int64_t run = std::max<std::int64_t>(1, kWorthwhile / std::max<std::int64_t>(1, cols));
  pool.for_each((rows + run - 1) / run, [&](std::int64_t item, int) {
    const std::int64_t end = std::min(rows, (item + 1) * run);
    for (std::int64_t row = item * run; row < end; ++row) {
      body(static_cast<std::int32_t>(row));
    }
  });
}

}  // namespace pagelab::kernels::cpu
