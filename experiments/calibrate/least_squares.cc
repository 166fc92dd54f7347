#include "experiments/calibrate/least_squares.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

namespace pagelab {

namespace {

template <std::size_t N>
using Matrix = std::array<std::array<double, N + 1>, N>;

/// Solves the equations of the unknowns in `chosen` (a bit each) by Gauss-Jordan elimination; the rest is 0.
/// None if they are (nearly) dependent. The diagonal of `equations` is 1.
template <std::size_t N>
std::optional<std::array<double, N>> solve(Matrix<N> equations, std::size_t chosen) {
  constexpr double dependent = 1e-9;
  const auto is_chosen = [&](std::size_t i) { return (chosen >> i & 1) != 0; };
  for (std::size_t i = 0; i < N; ++i) {
    if (!is_chosen(i)) {
      continue;
    }
    const double pivot = equations[i][i];  // positive definite: no exchange of rows is needed
    if (pivot < dependent) {
      return std::nullopt;
    }
    for (double& entry : equations[i]) {
      entry /= pivot;
    }
    for (std::size_t row = 0; row < N; ++row) {
      const double factor = equations[row][i];
      if (row == i || !is_chosen(row) || factor == 0) {
        continue;
      }
      for (std::size_t column = 0; column <= N; ++column) {
        equations[row][column] -= factor * equations[i][column];
      }
    }
  }
  std::array<double, N> solution{};
  for (std::size_t i = 0; i < N; ++i) {
    solution[i] = is_chosen(i) ? equations[i][N] : 0;
  }
  return solution;
}

template <std::size_t N>
double squared_error(std::span<const Observation<N>> observations, const std::array<double, N>& solution) {
  double sum = 0;
  for (const Observation<N>& o : observations) {
    double predicted = 0;
    for (std::size_t i = 0; i < N; ++i) {
      predicted += solution[i] * o.amounts[i];
    }
    const double error = (predicted - o.value) / o.scale;
    sum += error * error;
  }
  return sum;
}

}  // namespace

template <std::size_t N>
std::array<double, N> nonnegative_least_squares(std::span<const Observation<N>> observations) {
  // The normal equations of the scaled errors, each unknown scaled so that the diagonal is 1.
  Matrix<N> normal{};
  for (const Observation<N>& o : observations) {
    for (std::size_t i = 0; i < N; ++i) {
      for (std::size_t j = 0; j < N; ++j) {
        normal[i][j] += o.amounts[i] * o.amounts[j] / (o.scale * o.scale);
      }
      normal[i][N] += o.amounts[i] * o.value / (o.scale * o.scale);
    }
  }
  std::array<double, N> scale{};
  for (std::size_t i = 0; i < N; ++i) {
    scale[i] = normal[i][i] > 0 ? 1 / std::sqrt(normal[i][i]) : 0;
  }
  for (std::size_t i = 0; i < N; ++i) {
    for (std::size_t j = 0; j < N; ++j) {
      normal[i][j] *= scale[i] * scale[j];
    }
    normal[i][N] *= scale[i];
  }
  std::array<double, N> best{};
  double least = std::numeric_limits<double>::infinity();
  for (std::size_t chosen = 0; chosen < std::size_t{1} << N; ++chosen) {
    auto solution = solve<N>(normal, chosen);
    if (!solution || std::ranges::any_of(*solution, [](double x) { return x < 0; })) {
      continue;
    }
    for (std::size_t i = 0; i < N; ++i) {
      (*solution)[i] *= scale[i];
    }
    if (const double error = squared_error(observations, *solution); error < least * (1 - 1e-9)) {
      least = error;
      best = *solution;
    }
  }
  return best;
}

template std::array<double, 2> nonnegative_least_squares<2>(std::span<const Observation<2>>);
template std::array<double, 3> nonnegative_least_squares<3>(std::span<const Observation<3>>);

}  // namespace pagelab
