// The judges behind the kinds of claims (claims.h): each computes one verdict from a claim's parameters and
// the curves. Every series that a claim names is one of the curves; that was checked when it was read.
#pragma once

#include <limits>
#include <optional>
#include <span>
#include <string_view>

#include "experiments/reproduce/claims.h"

namespace pagelab {

using ClaimJudge = Verdict (*)(const Claim& claim, std::span<const FigureCurve> curves);

/// Stands for a real key that was left out; parameters have no absent value.
inline constexpr double absent_number = std::numeric_limits<double>::lowest();
/// A real key of the claim, if its kind has it and it was given.
std::optional<double> given_number(const Claim& claim, std::string_view name);

/// The series of `order` stand in that order, each pair at every x at which both have a point.
Verdict judge_order(const Claim& claim, std::span<const FigureCurve> curves);
/// The x at which `series` passes `level`.
Verdict judge_crossing(const Claim& claim, std::span<const FigureCurve> curves);
/// The y of `series` at `x`.
Verdict judge_value(const Claim& claim, std::span<const FigureCurve> curves);
/// y of two series at one x, at all x, or where they pass a level; or of one series at two x.
Verdict judge_ratio(const Claim& claim, std::span<const FigureCurve> curves);
/// The smallest y of `series` is at one of `x`.
Verdict judge_minimum(const Claim& claim, std::span<const FigureCurve> curves);
/// The larger of two series changes between two points from x_min to x_max.
Verdict judge_crosses(const Claim& claim, std::span<const FigureCurve> curves);

}  // namespace pagelab
