// Claims: what a paper says of a figure, as checks on curves: the order of systems, where a curve crosses a
// level, ratios, single values. A claim is read from its [[claim]] section and judged on our numbers; what
// the paper publishes stands in the claim itself. Judging never fails: what cannot be computed does not hold,
// and the verdict says why.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "core/config.h"
#include "experiments/reproduce/figure_curve.h"

namespace pagelab {

struct Verdict {
  bool holds = false;
  std::optional<double> ours;  ///< the number that was compared, if it is one
  std::string detail;          ///< one line: numbers, and why it fails
};

/// A kind of claim: its parameters and its judge (claims.cc has the table of them).
struct ClaimKind;

struct Claim {
  std::string text;
  const ClaimKind* kind = nullptr;
  Parameters parameters;
  std::vector<FigureX> x;       ///< the key `x`: empty, one value or several
  std::optional<FigureX> to_x;  ///< the key `to_x`
};

/// Reads a [[claim]] section of a figure with these series. Throws InputError that names file, line and key.
Claim read_claim(const ConfigTable& table, std::span<const std::string> series);

Verdict judge(const Claim& claim, std::span<const FigureCurve> curves);

/// {"text", "kind", "holds", "ours", "published", "tolerance", "detail"}; null where there is no such number.
nlohmann::ordered_json verdict_json(const Claim& claim, const Verdict& verdict);

/// The first x at which the curve passes `level`, between two neighbouring points with our values,
/// interpolated linearly in x and, with `log_y`, in the logarithm of y. None if it never does.
std::optional<double> crossing_of(const FigureCurve& curve, double level, bool log_y = false);

/// Reads a key that is a number, a text or a list of numbers: places on the x axis. Empty if it is absent.
/// Throws InputError.
std::vector<FigureX> read_x(const ConfigTable& table, const std::string& key);

}  // namespace pagelab
