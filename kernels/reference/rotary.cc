#include "kernels/reference/rotary.h"

#include <cmath>

namespace pagelab::kernels::reference {

std::vector<double> rotary(std::span<const float> head, std::int32_t position,
                           std::span<const float> inv_freq) {
  std::vector<double> out(head.size());
  const std::size_t half = head.size() / 2;
  for (std::size_t i = 0; i < half; ++i) {
    const double angle = static_cast<float>(position) * inv_freq[i];
    out[i] = head[i] * std::cos(angle) - head[i + half] * std::sin(angle);
    out[i + half] = head[i + half] * std::cos(angle) + head[i] * std::sin(angle);
  }
  return out;
}

}  // namespace pagelab::kernels::reference
