// The matrix product of Ops::linear in double and plain loops. For tests only.
#pragma once

#include <span>
#include <vector>

#include "kernels/ops.h"

namespace pagelab::kernels::reference {

/// act(x [m, k] * w [n, k]^T + bias [n]); bias may be empty.
std::vector<double> linear(std::span<const float> x, std::span<const float> w, std::span<const float> bias,
                           int m, int n, int k, Activation activation);

}  // namespace pagelab::kernels::reference
