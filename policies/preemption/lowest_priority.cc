// Lowest priority first: of the groups whose request has the lowest priority the last in scheduling order
// gives way. One sequence is recomputed, several are swapped, as by `latest` (PagedAttention paper, section
// 4.5). Where all priorities are equal it is `latest`.
#include "core/policy_registry.h"

namespace pagelab {
namespace {

class LowestPriority final : public PreemptionPolicy {
 public:
  Victim choose(std::span<const GroupView> candidates) override {
    std::size_t lowest = candidates.size() - 1;
    for (std::size_t i = lowest; i-- > 0;) {
      if (candidates[i].priority() < candidates[lowest].priority()) {
        lowest = i;
      }
    }
    return candidates[lowest].live_sequences() == 1
               ? Victim{lowest, PreemptionMode::recompute, "the lowest priority; one sequence is recomputed"}
               : Victim{lowest, PreemptionMode::swap, "the lowest priority; several sequences are swapped"};
  }
};

}  // namespace

void register_preemption_lowest_priority(PolicyRegistry& registry) {
  registry.add<PreemptionPolicy, LowestPriority>(
      {.name = "lowest_priority",
       .summary = "the latest group of the lowest priority: recompute one sequence, swap several",
       .source =
           "vLLM's priority scheduling (v0.6); the way back by PagedAttention (SOSP 2023), section 4.5"});
}

}  // namespace pagelab
