// The two limits that batching policies have in common: tokens in a step, and sequences that run at a time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/parameters.h"
#include "core/policies.h"

namespace pagelab {

class StepLimits {
 public:
  explicit StepLimits(const Parameters& parameters)
      : tokens_(parameters.integer("max_tokens")), sequences_(parameters.integer("max_sequences")) {}

  static std::vector<ParameterSpec> parameters(std::int64_t max_tokens) {
    return {{.name = "max_tokens",
             .default_value = max_tokens,
             .unit = "tokens",
             .help = "computed in one step at most, prompts and decodes together",
             .minimum = 1},
            {.name = "max_sequences",
             .default_value = std::int64_t{256},
             .unit = "sequences",
             .help = "that run at a time at most",
             .minimum = 1}};
  }

  Tokens tokens_left(const StepSoFar& step) const { return std::max(tokens_ - step.tokens, Tokens(0)); }

  /// Whether a group that does not run yet may start to: there is a place for all its sequences. One that
  /// would run alone always may, however wide.
  bool may_start(const BatchCandidate& candidate, const StepSoFar& step) const {
    return candidate.stage == Stage::running || step.running_groups == 0 ||
           step.running_sequences + candidate.group.width() <= sequences_;
  }

  /// All pending tokens if they fit, else none. What is too long for any step is taken alone, so that it is
  /// served.
  Tokens whole(const BatchCandidate& candidate, const StepSoFar& step) const {
    const bool fits = candidate.pending <= tokens_left(step) || step.groups == 0;
    return fits && may_start(candidate, step) ? candidate.pending : Tokens(0);
  }

 private:
  Tokens tokens_;
  std::int64_t sequences_;
};

}  // namespace pagelab
