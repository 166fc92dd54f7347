#include "kernels/reference/linear.h"

#include "kernels/reference/activation.h"

namespace pagelab::kernels::reference {

std::vector<double> linear(std::span<const float> x, std::span<const float> w, std::span<const float> bias,
                           int m, int n, int k, Activation activation) {
  std::vector<double> out(static_cast<std::size_t>(m) * n);
  for (int row = 0; row < m; ++row) {
    for (int col = 0; col < n; ++col) {
      double sum = bias.empty() ? 0.0 : bias[col];
      for (int i = 0; i < k; ++i) {
        sum += double{x[static_cast<std::size_t>(row) * k + i]} *
               double{w[static_cast<std::size_t>(col) * k + i]};
      }
      out[static_cast<std::size_t>(row) * n + col] = activate(sum, activation);
    }
  }
  return out;
}

}  // namespace pagelab::kernels::reference
