#include "kernels/reference/activation.h"

#include <cmath>
#include <numbers>

namespace pagelab::kernels::reference {

double activate(double x, Activation activation) {
  switch (activation) {
    case Activation::none:
      return x;
    case Activation::relu:
      return x > 0 ? x : 0;
    case Activation::gelu:
      return 0.5 * x * std::erfc(-x / std::numbers::sqrt2);
    case Activation::gelu_tanh:
      // 0.5 x (1 + tanh(u)) with the tanh written out: to the left 1 + tanh would lose all digits.
      return x / (1 + std::exp(-2 * std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
  }
  return x;
}

double silu(double x) {
  return x / (1 + std::exp(-x));
}

}  // namespace pagelab::kernels::reference
