#include "experiments/reproduce/claim_judges.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.h"

namespace pagelab {

namespace {

Verdict fails(std::string why) {
  return {false, std::nullopt, std::move(why)};
}

/// Compares our number with what the claim expects.
Verdict compared(const Claim& claim, double ours) {
  Verdict verdict{true, ours, fmt::format("ours {:.4g}", ours)};
  if (const auto published = given_number(claim, "published")) {
    const double tolerance = claim.parameters.real("tolerance");
    const double difference = ours - *published;
    verdict.detail += fmt::format(", published {:.4g}", *published);
    if (claim.parameters.flag("absolute")) {
      verdict.holds = std::abs(difference) <= tolerance;
      verdict.detail += fmt::format(" ({:+.3g}, tolerance {:.3g})", difference, tolerance);
    } else {
      verdict.holds = std::abs(difference) <= tolerance * std::abs(*published);
      verdict.detail +=
          fmt::format(" ({:+.1f} %, tolerance {:.3g} %)", 100 * difference / *published, 100 * tolerance);
    }
  }
  if (const auto least = given_number(claim, "at_least")) {
    verdict.holds = verdict.holds && ours >= *least;
    verdict.detail += fmt::format(", at least {:.4g} wanted", *least);
  }
  if (const auto most = given_number(claim, "at_most")) {
    verdict.holds = verdict.holds && ours <= *most;
    verdict.detail += fmt::format(", at most {:.4g} wanted", *most);
  }
  return verdict;
}

const FigureCurve& curve_of(std::span<const FigureCurve> curves, const std::string& name) {
  const FigureCurve* curve = find_curve(curves, name);
  PAGELAB_INVARIANT(curve != nullptr, name);
  return *curve;
}

/// Our mean at x, or why there is none.
struct Value {
  std::optional<double> y;
  std::string why;
};

Value value_at(const FigureCurve& curve, const FigureX& x) {
  const CurvePoint* point = curve.find(x);
  if (point == nullptr || !point->ours) {
    return {std::nullopt, fmt::format("{} has no value at x = {}", curve.name, x.text)};
  }
  return {point->ours->mean, {}};
}

/// A number between x_min and x_max of the claim; a category always is.
bool within(const Claim& claim, const FigureX& x) {
  const auto min = given_number(claim, "x_min");
  const auto max = given_number(claim, "x_max");
  return !x.number || ((!min || *x.number >= *min) && (!max || *x.number <= *max));
}

/// The x at which both curves have our value, in the first one's order.
std::vector<FigureX> common_x(const Claim& claim, const FigureCurve& a, const FigureCurve& b) {
  std::vector<FigureX> xs;
  for (const CurvePoint& point : a.points) {
    if (within(claim, point.x) && point.ours && value_at(b, point.x).y) {
      xs.push_back(point.x);
    }
  }
  return xs;
}

/// Where the curve passes the claim's level, or why it does not.
Value level_crossing(const Claim& claim, const FigureCurve& curve) {
  const double level = claim.parameters.real("level");
  const auto at = crossing_of(curve, level, claim.parameters.text("interpolation") == "log");
  if (at) {
    return {at, {}};
  }
  std::vector<const CurvePoint*> run;
  for (const CurvePoint& point : curve.points) {
    if (point.ours && point.x.number) {
      run.push_back(&point);
    }
  }
  if (run.empty()) {
    return {std::nullopt, fmt::format("{} has no points", curve.name)};
  }
  return {std::nullopt, fmt::format("{} stays {} {:.4g} from x = {} to {}", curve.name,
                                    run.front()->ours->mean > level ? "above" : "below", level,
                                    run.front()->x.text, run.back()->x.text)};
}

Verdict quotient(const Claim& claim, const Value& of, const Value& to) {
  if (!of.y || !to.y) {
    return fails(of.y ? to.why : of.why);
  }
  if (*to.y == 0) {
    return fails("the divisor is 0");
  }
  return compared(claim, *of.y / *to.y);
}

/// The ratio at every x that both have; the verdict is that of the first that fails, else of the last.
Verdict ratio_everywhere(const Claim& claim, const FigureCurve& of, const FigureCurve& to) {
  Verdict verdict = fails(fmt::format("{} and {} have no x in common", of.name, to.name));
  for (const FigureX& x : common_x(claim, of, to)) {
    verdict = quotient(claim, value_at(of, x), value_at(to, x));
    verdict.detail = fmt::format("at {}: {}", x.text, verdict.detail);
    if (!verdict.holds) {
      break;
    }
  }
  return verdict;
}

}  // namespace

std::optional<double> given_number(const Claim& claim, std::string_view name) {
  if (!claim.parameters.has(name) || claim.parameters.real(name) == absent_number) {
    return std::nullopt;
  }
  return claim.parameters.real(name);
}

Verdict judge_order(const Claim& claim, std::span<const FigureCurve> curves) {
  const TextList& order = claim.parameters.texts("order");
  const double sign = claim.parameters.text("better") == "lower" ? 1 : -1;
  const double slack = claim.parameters.real("tolerance");
  int compared_pairs = 0;
  std::vector<std::string> wrong;
  for (std::size_t i = 0; i < order.size(); ++i) {
    for (std::size_t j = i + 1; j < order.size(); ++j) {
      const FigureCurve& better = curve_of(curves, order[i]);
      const FigureCurve& worse = curve_of(curves, order[j]);
      for (const FigureX& x : common_x(claim, better, worse)) {
        const double low = *value_at(better, x).y;
        const double high = *value_at(worse, x).y;
        ++compared_pairs;
        if (sign * (low - high) > slack * std::abs(high)) {
          wrong.push_back(
              fmt::format("at {} {} has {:.4g}, {} {:.4g}", x.text, order[i], low, order[j], high));
        }
      }
    }
  }
  if (compared_pairs == 0) {
    return fails("no two of the series have a point at the same x");
  }
  const std::size_t shown = std::min<std::size_t>(wrong.size(), 3);
  std::string detail = fmt::format("{} of {} comparisons hold",
                                   compared_pairs - static_cast<int>(wrong.size()), compared_pairs);
  if (shown > 0) {
    detail += fmt::format("; {}", fmt::join(wrong.begin(), wrong.begin() + static_cast<long>(shown), "; "));
    detail += wrong.size() > shown ? "; ..." : "";
  }
  return {wrong.empty(), std::nullopt, std::move(detail)};
}

Verdict judge_crossing(const Claim& claim, std::span<const FigureCurve> curves) {
  const Value at = level_crossing(claim, curve_of(curves, claim.parameters.text("series")));
  return at.y ? compared(claim, *at.y) : fails(at.why);
}

Verdict judge_value(const Claim& claim, std::span<const FigureCurve> curves) {
  const Value value = value_at(curve_of(curves, claim.parameters.text("series")), claim.x.front());
  return value.y ? compared(claim, *value.y) : fails(value.why);
}

Verdict judge_ratio(const Claim& claim, std::span<const FigureCurve> curves) {
  if (const std::string& series = claim.parameters.text("series"); !series.empty()) {
    const FigureCurve& curve = curve_of(curves, series);
    return quotient(claim, value_at(curve, claim.x.front()), value_at(curve, *claim.to_x));
  }
  const FigureCurve& of = curve_of(curves, claim.parameters.text("of"));
  const FigureCurve& to = curve_of(curves, claim.parameters.text("to"));
  if (claim.x.empty()) {
    return quotient(claim, level_crossing(claim, of), level_crossing(claim, to));
  }
  if (claim.x.front().text == "all") {
    return ratio_everywhere(claim, of, to);
  }
  return quotient(claim, value_at(of, claim.x.front()), value_at(to, claim.x.front()));
}

Verdict judge_minimum(const Claim& claim, std::span<const FigureCurve> curves) {
  const FigureCurve& curve = curve_of(curves, claim.parameters.text("series"));
  const CurvePoint* least = nullptr;
  for (const CurvePoint& point : curve.points) {
    if (point.ours && (least == nullptr || point.ours->mean < least->ours->mean)) {
      least = &point;
    }
  }
  if (least == nullptr) {
    return fails(fmt::format("{} has no points", curve.name));
  }
  const bool holds = std::ranges::find(claim.x, least->x) != claim.x.end();
  return {holds, least->x.number, fmt::format("smallest at {}: {:.4g}", least->x.text, least->ours->mean)};
}

Verdict judge_crosses(const Claim& claim, std::span<const FigureCurve> curves) {
  const TextList& pair = claim.parameters.texts("series");
  const FigureCurve& a = curve_of(curves, pair[0]);
  const FigureCurve& b = curve_of(curves, pair[1]);
  std::optional<double> before;
  FigureX at_before;
  for (const FigureX& x : common_x(claim, a, b)) {
    const double difference = *value_at(a, x).y - *value_at(b, x).y;
    if (before && (difference == 0 || (*before < 0) != (difference < 0))) {
      return {true, std::nullopt,
              fmt::format("{} is {} at {} and {} at {}", a.name, *before < 0 ? "below" : "above",
                          at_before.text, difference < 0 ? "below" : "not below", x.text)};
    }
    before = difference;
    at_before = x;
  }
  if (!before) {
    return fails(fmt::format("{} and {} have no x in common here", a.name, b.name));
  }
  return fails(fmt::format("{} stays {} {}", a.name, *before < 0 ? "below" : "above", b.name));
}

std::optional<double> crossing_of(const FigureCurve& curve, double level, bool log_y) {
  const auto scaled = [log_y](double y) { return log_y ? std::log(y) : y; };
  const CurvePoint* before = nullptr;
  for (const CurvePoint& point : curve.points) {
    if (!point.ours || !point.x.number) {
      continue;
    }
    if (before != nullptr && (before->ours->mean < level) != (point.ours->mean < level)) {
      const double low = scaled(before->ours->mean);
      const double high = scaled(point.ours->mean);
      const double part = (scaled(level) - low) / (high - low);
      return *before->x.number + part * (*point.x.number - *before->x.number);
    }
    before = &point;
  }
  return std::nullopt;
}

}  // namespace pagelab
