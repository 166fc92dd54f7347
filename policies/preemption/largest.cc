// Largest first: the group that frees the most blocks gives way, so that few are preempted; of equals the one
// behind. One sequence is recomputed, several are swapped, as by `latest` (PagedAttention paper,
// section 4.5).
#include "core/policy_registry.h"

namespace pagelab {
namespace {

class Largest final : public PreemptionPolicy {
 public:
  void start(const PreemptionView& view) override { view_ = &view; }

  Victim choose(std::span<const GroupView> candidates) override {
    std::size_t largest = candidates.size() - 1;
    Blocks most = view_->freed(candidates[largest]);
    for (std::size_t i = largest; i-- > 0;) {
      if (const Blocks freed = view_->freed(candidates[i]); freed > most) {
        largest = i;
        most = freed;
      }
    }
    return candidates[largest].live_sequences() == 1
               ? Victim{largest, PreemptionMode::recompute, "it frees the most; one sequence is recomputed"}
               : Victim{largest, PreemptionMode::swap, "it frees the most; several sequences are swapped"};
  }

 private:
  const PreemptionView* view_ = nullptr;
};

}  // namespace

void register_preemption_largest(PolicyRegistry& registry) {
  registry.add<PreemptionPolicy, Largest>(
      {.name = "largest",
       .summary = "the group that frees the most blocks: recompute one sequence, swap several",
       .source = "fewest victims; the way back by PagedAttention (SOSP 2023), section 4.5"});
}

}  // namespace pagelab
