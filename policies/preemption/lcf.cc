// Least computed first: the group with the fewest computed tokens gives way and is recomputed, which costs
// the least of all; of equals the one behind. It may overtake the order of scheduling: a group that has just
// begun gives way to one behind it that is far. The first group in order never gives way, so all end.
#include "core/policy_registry.h"

namespace pagelab {
namespace {

class LeastComputedFirst final : public PreemptionPolicy {
 public:
  Victim choose(std::span<const GroupView> candidates) override {
    std::size_t least = candidates.size() - 1;
    for (std::size_t i = least; i-- > 0;) {
      if (candidates[i].computed_tokens() < candidates[least].computed_tokens()) {
        least = i;
      }
    }
    return {least, PreemptionMode::recompute, "the fewest computed tokens"};
  }
};

}  // namespace

void register_preemption_lcf(PolicyRegistry& registry) {
  registry.add<PreemptionPolicy, LeastComputedFirst>(
      {.name = "lcf",
       .summary = "the group with the fewest computed tokens, recomputed",
       .source = "the cheapest recomputation by PagedAttention (SOSP 2023), section 4.5"});
}

}  // namespace pagelab
