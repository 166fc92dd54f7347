// The embedding lookup of Ops in plain loops. For tests only.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace pagelab::kernels::reference {

/// out[t] = before[t] + table[ids[t]] for a table [rows, cols]; before may be empty (zeros).
std::vector<double> embedding(std::span<const float> table, int cols, std::span<const std::int32_t> ids,
                              std::span<const float> before);

}  // namespace pagelab::kernels::reference
