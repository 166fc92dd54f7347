// Least squares with coefficients that cannot be negative, for the few costs that a measured time is a sum
// of.
#pragma once

#include <array>
#include <cstddef>
#include <span>

namespace pagelab {

/// One observation: `value` = sum of coefficient * amount, up to noise in proportion to `scale`.
template <std::size_t N>
struct Observation {
  std::array<double, N> amounts{};
  double value = 0;
  double scale = 1;
};

/// The coefficients, none below 0, that leave the smallest sum of squared errors, each over its scale. Every
/// set of coefficients that may be above 0 is tried (Lawson and Hanson, 1974, chapter 23, characterise the
/// answer), so N is to be small. A coefficient whose amounts the others explain as well stays 0, later ones
/// first. Requires scales above 0.
template <std::size_t N>
std::array<double, N> nonnegative_least_squares(std::span<const Observation<N>> observations);

extern template std::array<double, 2> nonnegative_least_squares<2>(std::span<const Observation<2>>);
extern template std::array<double, 3> nonnegative_least_squares<3>(std::span<const Observation<3>>);

}  // namespace pagelab
