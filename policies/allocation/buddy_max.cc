// Orca (Max): every sequence gets a run for the longest sequence there may be, whatever it will need
// (PagedAttention paper, sections 3.1 and 6.1).
#include "core/policy_registry.h"
#include "policies/allocation/buddy_runs.h"

namespace pagelab {
namespace {

class BuddyMax final : public BuddyAllocation {
 public:
  using BuddyAllocation::BuddyAllocation;

  Tokens reserve(const GroupView&, Tokens known) override { return std::max(known, max_length()); }
};

}  // namespace

void register_allocation_buddy_max(PolicyRegistry& registry) {
  registry.add<AllocationPolicy, BuddyMax>({.name = "buddy_max",
                                            .summary = "a run for the longest sequence, by a buddy allocator",
                                            .source = "Orca (Max) of PagedAttention (SOSP 2023), section 6.1",
                                            .parameters = {max_length_parameter()}});
}

}  // namespace pagelab
