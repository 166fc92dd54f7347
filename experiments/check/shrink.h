// shrink: makes a case that fails as small as it can be while it still fails. It tries simpler cases one
// after the other (fewer requests, standard policies, default parameters, shorter lengths, smaller pools) and
// goes on from each that fails too, until none does or the budget is spent.
#pragma once

#include <cstdint>
#include <functional>

#include "core/policy_registry.h"
#include "experiments/check/check_case.h"

namespace pagelab {

/// How much shrinking may try.
struct ShrinkBudget {
  std::int64_t tries = 2000;
  double seconds = 20;  ///< of wall clock
};

/// `fails` says whether a case fails in the same way as `failing` does. The policy of `checked_axis` and its
/// `kept` parameters stay.
CheckCase shrink(CheckCase failing, const PolicyRegistry& registry, const std::string& checked_axis,
                 const std::function<bool(const std::string& axis, const std::string& key)>& kept,
                 const std::function<bool(const CheckCase&)>& fails, const ShrinkBudget& budget);

}  // namespace pagelab
