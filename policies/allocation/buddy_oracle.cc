// Orca (Oracle): every sequence gets a run for exactly the length that it will have, which no system can know
// (PagedAttention paper, section 6.1).
#include "core/policy_registry.h"
#include "policies/allocation/buddy_runs.h"

namespace pagelab {
namespace {

class BuddyOracle final : public BuddyAllocation {
 public:
  BuddyOracle(const Parameters& parameters, const Oracle& oracle)
      : BuddyAllocation(parameters), oracle_(oracle) {}

  Tokens reserve(const GroupView& group, Tokens known) override {
    return std::max(known, std::min(group.prompt_tokens() + oracle_.output_tokens(group), max_length()));
  }

 private:
  Oracle oracle_;
};

}  // namespace

void register_allocation_buddy_oracle(PolicyRegistry& registry) {
  registry.add<AllocationPolicy, BuddyOracle>(
      {.name = "buddy_oracle",
       .summary = "a run for the true length, by a buddy allocator",
       .source = "Orca (Oracle) of PagedAttention (SOSP 2023), section 6.1",
       .parameters = {max_length_parameter()}});
}

}  // namespace pagelab
