// The latest group gives way and is always swapped to the host pool; when that is full, the core recomputes
// it (PagedAttention paper, section 4.5).
#include "core/policy_registry.h"

namespace pagelab {
namespace {

class Swap final : public PreemptionPolicy {
 public:
  Victim choose(std::span<const GroupView> candidates) override {
    return {candidates.size() - 1, PreemptionMode::swap, "the latest; always swapped"};
  }
};

}  // namespace

void register_preemption_swap(PolicyRegistry& registry) {
  registry.add<PreemptionPolicy, Swap>({.name = "swap",
                                        .summary = "the latest group, always swapped to the host",
                                        .source = "PagedAttention (SOSP 2023), section 4.5"});
}

}  // namespace pagelab
