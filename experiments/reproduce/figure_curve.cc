#include "experiments/reproduce/figure_curve.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <system_error>

#include "core/error.h"

namespace pagelab {

std::string number_text(double number) {
  if (std::abs(number) < 1e15 && number == std::trunc(number)) {
    return std::to_string(static_cast<std::int64_t>(number));  // 1000000, not 1e+06
  }
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, number).ptr};
}

FigureX figure_x(double number) {
  return {number_text(number), number};
}

FigureX figure_x(std::string_view text) {
  double number = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  if (error == std::errc() && rest == end && std::isfinite(number)) {
    return figure_x(number);
  }
  return {std::string(text), std::nullopt};
}

Spread spread_of(std::span<const double> values) {
  PAGELAB_INVARIANT(!values.empty(), "a spread of nothing");
  const auto [min, max] = std::ranges::minmax(values);
  const double sum = std::accumulate(values.begin(), values.end(), 0.0);
  return {std::clamp(sum / static_cast<double>(values.size()), min, max), min, max};
}

const CurvePoint* FigureCurve::find(const FigureX& x) const {
  const auto point = std::ranges::find(points, x, &CurvePoint::x);
  return point == points.end() ? nullptr : &*point;
}

CurvePoint& FigureCurve::at(const FigureX& x) {
  const auto point = std::ranges::find(points, x, &CurvePoint::x);
  if (point != points.end()) {
    return *point;
  }
  const auto next = std::ranges::find_if(points, [&](const CurvePoint& other) {
    return x.number && other.x.number && *other.x.number > *x.number;
  });
  return *points.insert(next, CurvePoint{x, std::nullopt, {}});
}

const FigureCurve* find_curve(std::span<const FigureCurve> curves, std::string_view name) {
  const auto curve = std::ranges::find(curves, name, &FigureCurve::name);
  return curve == curves.end() ? nullptr : &*curve;
}

}  // namespace pagelab
