// Orca (Max): every sequence gets a run for the longest sequence there may be, whatever it will need
// (PagedAttention paper, sections 3.1 and 6.1).
#include "core/policy_registry.h"
#include "policies/allocation/buddy_runs.h"

namespace pagelab {
namespace {

class BuddyMax final : public AllocationPolicy {
 public:
  explicit BuddyMax(const Parameters& parameters) : max_length_(parameters.integer("max_length")) {}

  Tokens reserve(const GroupView&, Tokens known) override { return std::max(known, max_length_); }
  Blocks append_headroom(const GroupView&, Blocks exact) override { return exact; }
  Blocks watermark(Blocks) override { return Blocks(0); }
  std::unique_ptr<BlockRuns> make_runs(Blocks capacity, Tokens block_size) const override {
    return std::make_unique<BuddyRuns>(capacity, blocks_for(max_length_, block_size));
  }

 private:
  Tokens max_length_;
};

}  // namespace

void register_allocation_buddy_max(PolicyRegistry& registry) {
  registry.add<AllocationPolicy, BuddyMax>({.name = "buddy_max",
                                            .summary = "a run for the longest sequence, by a buddy allocator",
                                            .source = "Orca (Max) of PagedAttention (SOSP 2023), section 6.1",
                                            .parameters = {max_length_parameter()}});
}

}  // namespace pagelab
