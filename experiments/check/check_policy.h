// check_policy: thousands of drawn cases against one policy, in a child process, so that whatever the policy
// does ends in a report: what was covered, or what went wrong and the smallest case that shows it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/policy_registry.h"
#include "experiments/check/case_run.h"
#include "experiments/check/check_case.h"
#include "experiments/check/draw_case.h"
#include "experiments/check/shrink.h"

namespace pagelab {

struct CheckOptions {
  CheckedChoice checked;
  std::int64_t cases = 2000;
  std::uint64_t seed = 1;
  double silence_s = 30;  ///< of wall clock: a case that takes longer is taken for one that never ends
  ShrinkBudget shrink{};
};

struct CheckFailure {
  Fault fault = Fault::none;
  std::string text;         ///< what was found, in the smallest case
  std::int64_t number = 0;  ///< of the case that it was first seen in
  CheckCase smallest;
};

struct CheckReport {
  CaseCounts counts;
  std::optional<CheckFailure> failure;
};

/// Throws InputError if the policy cannot be checked so. The process must have no other threads.
CheckReport check_policy(const PolicyRegistry& registry, const CheckOptions& options);

}  // namespace pagelab
