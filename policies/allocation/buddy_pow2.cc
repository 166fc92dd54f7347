// Orca (Pow2): the output is over-estimated by a factor of two at most, the true length rounded up to a power
// of two (25 tokens are taken for 32; PagedAttention paper, section 6.1).
#include <bit>

#include "core/policy_registry.h"
#include "policies/allocation/buddy_runs.h"

namespace pagelab {
namespace {

class BuddyPow2 final : public BuddyAllocation {
 public:
  BuddyPow2(const Parameters& parameters, const Oracle& oracle)
      : BuddyAllocation(parameters), oracle_(oracle) {}

  Tokens reserve(const GroupView& group, Tokens known) override {
    const auto output = static_cast<std::uint64_t>(oracle_.output_tokens(group).value());
    const Tokens estimate(static_cast<std::int64_t>(std::bit_ceil(output)));
    return std::max(known, std::min(group.prompt_tokens() + estimate, max_length()));
  }

 private:
  Oracle oracle_;
};

}  // namespace

void register_allocation_buddy_pow2(PolicyRegistry& registry) {
  registry.add<AllocationPolicy, BuddyPow2>(
      {.name = "buddy_pow2",
       .summary = "a run for the true length, its output rounded up to a power of two",
       .source = "Orca (Pow2) of PagedAttention (SOSP 2023), section 6.1",
       .parameters = {max_length_parameter()}});
}

}  // namespace pagelab
