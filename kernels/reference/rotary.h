// The rotary embedding in double. For tests only.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace pagelab::kernels::reference {

/// Ops::rotary of one head: dimension i pairs with i + size / 2. The angle is rounded to f32 first, as in
/// Ops.
std::vector<double> rotary(std::span<const float> head, std::int32_t position,
                           std::span<const float> inv_freq);

}  // namespace pagelab::kernels::reference
