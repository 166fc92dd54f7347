// The norms of Ops in double. For tests only.
#pragma once

#include <span>
#include <vector>

namespace pagelab::kernels::reference {

/// (x - mean) / sqrt(variance + epsilon) * gamma + beta of one row.
std::vector<double> layer_norm(std::span<const float> x, std::span<const float> gamma,
                               std::span<const float> beta, double epsilon);
/// x / sqrt(mean(x^2) + epsilon) * gamma of one row.
std::vector<double> rms_norm(std::span<const float> x, std::span<const float> gamma, double epsilon);

}  // namespace pagelab::kernels::reference
