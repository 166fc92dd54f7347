#include "kernels/reference/embedding.h"

namespace pagelab::kernels::reference {

std::vector<double> embedding(std::span<const float> table, int cols, std::span<const std::int32_t> ids,
                              std::span<const float> before) {
  std::vector<double> out(ids.size() * static_cast<std::size_t>(cols));
  for (std::size_t t = 0; t < ids.size(); ++t) {
    for (int c = 0; c < cols; ++c) {
      const std::size_t at = t * static_cast<std::size_t>(cols) + c;
      out[at] =
          double{table[static_cast<std::size_t>(ids[t]) * cols + c]} + (before.empty() ? 0.0f : before[at]);
    }
  }
  return out;
}

}  // namespace pagelab::kernels::reference
