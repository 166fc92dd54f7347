// CaseSource: draws the cases that a policy is checked with. Every case is a function of the seed and its
// number. Axes, policies and parameters come from the registry, so what is registered takes part; lengths are
// short and pools tight, because that is where policies go wrong.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/policy_registry.h"
#include "core/random.h"
#include "experiments/check/check_case.h"

namespace pagelab {

/// The policy to check, and values that are not to be drawn.
struct CheckedChoice {
  std::string axis;
  std::string name;
  /// Of the policy, or of the other axes: by axis a `name`, parameters, or both.
  struct Setting {
    std::string axis, key;
    ParameterValue value;
  };
  std::vector<Setting> settings{};
};

class CaseSource {
 public:
  /// Borrows the registry. Throws InputError if there is no such policy, if no run can have it, or if it has
  /// a required parameter that is not set.
  CaseSource(const PolicyRegistry& registry, CheckedChoice checked, std::uint64_t seed);

  /// Case `number` in its `attempt`-th drawing: another one is wanted where policies exclude each other. Its
  /// pools are to be fitted yet.
  CheckCase draw(std::int64_t number, std::int64_t attempt) const;
  /// Gives the case the pool that it is to have, as tight as it can be without refusing more requests than a
  /// large one would. Asks the policies, and throws what they throw.
  void fit_pools(CheckCase& drawn) const;

 private:
  CheckedPolicy draw_policy(const PolicyRegistry::AxisEntry& axis, RandomStream& random) const;
  CheckedPolicy draw_parameters(const std::string& axis, const PolicyInfo& info, RandomStream& random) const;
  bool can_be_drawn(const std::string& axis, const PolicyEntry& entry) const;
  const ParameterValue* setting(const std::string& axis, const std::string& key) const;
  void make_stream(CheckCase& drawn, RandomStream& random) const;

  const PolicyRegistry& registry_;
  CheckedChoice checked_;
  std::uint64_t seed_;
  bool bounds_waiting_ = false;
};

}  // namespace pagelab
