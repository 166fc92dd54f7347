// FigureCurve: one line of a figure as numbers: what we got at each x (mean and range over seeds) and what
// the paper published there. Values without behaviour; figure_csv.h reads and writes them, claims.h judges
// them.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pagelab {

/// A place on the x axis: a number, or a category by name.
struct FigureX {
  std::string text;  ///< as in CSV files; of a number the shortest form, "2" and not "2.0"
  std::optional<double> number;

  /// Numbers are equal by value.
  friend bool operator==(const FigureX& a, const FigureX& b) {
    return a.number && b.number ? *a.number == *b.number : a.text == b.text;
  }
};

FigureX figure_x(double number);
/// A number if the whole text is one.
FigureX figure_x(std::string_view text);

/// What the seeds of a point came to.
struct Spread {
  double mean = 0, min = 0, max = 0;
};

/// Requires at least one value.
Spread spread_of(std::span<const double> values);

struct CurvePoint {
  FigureX x;
  std::optional<Spread> ours;     ///< none: not run, or nothing to measure
  std::vector<double> published;  ///< most often one; empty: nothing is published here
};

struct FigureCurve {
  std::string name;   ///< as in CSV files
  std::string label;  ///< for people
  std::vector<CurvePoint> points;

  /// Null if the curve has no such point.
  const CurvePoint* find(const FigureX& x) const;
  /// The point at x, added if it is not there: before the first one with a larger number, else at the end.
  CurvePoint& at(const FigureX& x);
};

/// Null if there is none.
const FigureCurve* find_curve(std::span<const FigureCurve> curves, std::string_view name);

/// The shortest text that reads back to the same number; of a whole one its digits.
std::string number_text(double number);

}  // namespace pagelab
