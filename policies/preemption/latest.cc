// Latest preempted first: the last group in scheduling order gives way. A group of one sequence is
// recomputed, one of several is swapped, since its sharing makes it dear to recompute (PagedAttention paper,
// section 4.5, and its code).
#include "core/policy_registry.h"

namespace pagelab {
namespace {

class Latest final : public PreemptionPolicy {
 public:
  Victim choose(std::span<const GroupView> candidates) override {
    const std::size_t last = candidates.size() - 1;
    return candidates[last].live_sequences() == 1
               ? Victim{last, PreemptionMode::recompute, "the latest; one sequence is recomputed"}
               : Victim{last, PreemptionMode::swap, "the latest; several sequences are swapped"};
  }
};

}  // namespace

void register_preemption_latest(PolicyRegistry& registry) {
  registry.add<PreemptionPolicy, Latest>({.name = "latest",
                                          .summary = "the latest group: recompute one sequence, swap several",
                                          .source = "PagedAttention (SOSP 2023), section 4.5"});
}

}  // namespace pagelab
