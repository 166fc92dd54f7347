// Tail first: the latest group gives way, but gives up no more blocks of its tail than are missing. It waits
// with the rest of its KV, which goes block by block as others need it, and computes only what it lost. A
// group of several sequences shares blocks and is swapped as a whole, as by `latest`. Partial eviction in
// this form is what Pensieve (EuroSys 2025) does with chunks of a conversation, there from the front.
#include <algorithm>

#include "core/policy_registry.h"

namespace pagelab {
namespace {

class Tail final : public PreemptionPolicy {
 public:
  void start(const PreemptionView& view) override { view_ = &view; }

  Victim choose(std::span<const GroupView> candidates) override {
    const std::size_t last = candidates.size() - 1;
    if (candidates[last].live_sequences() > 1) {
      return {last, PreemptionMode::swap, "the latest; several sequences are swapped"};
    }
    const Blocks keep = std::max(Blocks(0), view_->held(candidates[last]) - view_->lacking());
    return {last, PreemptionMode::recompute, "the latest; its tail is recomputed", keep};
  }

 private:
  const PreemptionView* view_ = nullptr;
};

}  // namespace

void register_preemption_tail(PolicyRegistry& registry) {
  registry.add<PreemptionPolicy, Tail>(
      {.name = "tail",
       .summary = "the latest group, of which only the missing blocks are recomputed; several are swapped",
       .source = "partial eviction as in Pensieve (EuroSys 2025), from the tail"});
}

}  // namespace pagelab
