// The latest group gives way and is always recomputed: its blocks are dropped, and its tokens so far become
// part of its prompt (PagedAttention paper, section 4.5).
#include "core/policy_registry.h"

namespace pagelab {
namespace {

class Recompute final : public PreemptionPolicy {
 public:
  Victim choose(std::span<const GroupView> candidates) override {
    return {candidates.size() - 1, PreemptionMode::recompute, "the latest; always recomputed"};
  }
};

}  // namespace

void register_preemption_recompute(PolicyRegistry& registry) {
  registry.add<PreemptionPolicy, Recompute>({.name = "recompute",
                                             .summary = "the latest group, always recomputed",
                                             .source = "PagedAttention (SOSP 2023), section 4.5"});
}

}  // namespace pagelab
