// PolicyCensus: proof that the policies of a run were active and mattered. Around each policy that is not its
// axis's standard it puts a decorator, which passes every question on, counts it, and asks the standard
// policy the same one beside it. The standard policy has its default parameters, but for those that the
// policy declares under the same name and type, so that what is compared is the idea and not its limits.
// Answers are never changed.
//
// The first questions are all compared, later ones 16 in a row of every 251, so that counting costs little;
// `differed` is of `compared` questions. What counts as a question, and when two answers differ:
//
//   scheduling   a key asked for: whether it orders its group otherwise against the one asked for just before
//   batching     a grant, or the order of the stages
//   allocation   a reserve, a headroom, a watermark, or whether there are runs (which there never are)
//   preemption   a choice: the victim, or how it comes back
//   sharing      a flag, or whether contents are cached at all (which they never are)
//   eviction     a victim: whether lru would have chosen another one. Each is compared: an lru that has seen
//                the same events and the same victims costs the same however few are looked at
//   retention    a budget, or a choice of slots to drop: all drops none
//
// The decorators hold a reference to the counts: a census must outlive the policies that it watches.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "core/policy_registry.h"

namespace pagelab {

/// What one policy was asked.
struct PolicyCount {
  std::string axis, name, standard;
  std::int64_t asked = 0;
  std::int64_t compared = 0;
  std::int64_t differed = 0;

  /// Counts a question; whether its answer is to be compared.
  bool ask() {
    ++asked;
    phase_ = phase_ + 1 == period ? 0 : phase_ + 1;
    return phase_ < in_a_row || asked <= all_up_to;
  }
  void compare(bool differs) {
    ++compared;
    differed += differs ? 1 : 0;
  }

 private:
  static constexpr std::int64_t all_up_to = 1024;
  static constexpr std::int32_t in_a_row = 16,
                                period = 251;  // a prime: no pattern of questions keeps step with it
  std::int32_t phase_ = -1;
};

class PolicyCensus {
 public:
  /// Puts decorators around the policies of `set` that are not their axis's standard. `parameters(axis)` are
  /// the resolved ones of the policy in the set; `registry` has the standard policies.
  template <class ParametersOf>
  void watch(PolicySet& set, const PolicyRegistry& registry, ParametersOf&& parameters) {
    set.for_each([&]<class Policy>(PolicySet::Choice<Policy>& choice) {
      if (choice.name != Axis<Policy>::standard) {
        watch(choice, registry, parameters(Axis<Policy>::name));
      }
    });
  }

  /// In the order of the axes.
  const std::deque<PolicyCount>& counts() const { return counts_; }
  /// A sentence for each policy that was never asked, or never differed from the standard one.
  std::vector<std::string> warnings() const;

 private:
  template <class Policy>
  void watch(PolicySet::Choice<Policy>& choice, const PolicyRegistry& registry, const Parameters& parameters);

  std::deque<PolicyCount> counts_;  ///< whose elements stay where they are
};

}  // namespace pagelab
