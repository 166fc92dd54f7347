#include "kernels/reference/norm.h"

#include <cmath>

namespace pagelab::kernels::reference {

std::vector<double> layer_norm(std::span<const float> x, std::span<const float> gamma,
                               std::span<const float> beta, double epsilon) {
  double mean = 0;
  for (const float value : x) {
    mean += value;
  }
  mean /= static_cast<double>(x.size());
  double variance = 0;
  for (const float value : x) {
    variance += (value - mean) * (value - mean);
  }
  variance /= static_cast<double>(x.size());
  std::vector<double> out(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    out[i] = (x[i] - mean) / std::sqrt(variance + epsilon) * gamma[i] + beta[i];
  }
  return out;
}

std::vector<double> rms_norm(std::span<const float> x, std::span<const float> gamma, double epsilon) {
  double squares = 0;
  for (const float value : x) {
    squares += double{value} * value;
  }
  std::vector<double> out(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    out[i] = x[i] / std::sqrt(squares / static_cast<double>(x.size()) + epsilon) * gamma[i];
  }
  return out;
}

}  // namespace pagelab::kernels::reference
