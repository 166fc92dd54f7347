// Paged allocation: blocks on demand, filled left to right, so a sequence wastes less than one block
// (PagedAttention paper, section 4.3). The headroom rule and the watermark are those of the authors' code:
// appending is allowed only while there is a free block per running sequence of the group, needed or not.
#include <algorithm>

#include "core/policy_registry.h"

namespace pagelab {
namespace {

class Paged final : public AllocationPolicy {
 public:
  explicit Paged(const Parameters& parameters) : watermark_(parameters.real("watermark")) {}

  Tokens reserve(const GroupView&, Tokens known) override { return known; }

  Blocks append_headroom(const GroupView& group, Blocks exact) override {
    return std::max(exact, Blocks(group.live_sequences()));
  }

  Blocks watermark(Blocks capacity) override {
    return Blocks(static_cast<std::int64_t>(watermark_ * static_cast<double>(capacity.value())));
  }

 private:
  double watermark_;
};

}  // namespace

void register_allocation_paged(PolicyRegistry& registry) {
  registry.add<AllocationPolicy, Paged>(
      {.name = "paged",
       .summary = "blocks on demand, none reserved",
       .source = "PagedAttention (SOSP 2023), section 4.3",
       .parameters = {
           {.name = "watermark",
            .default_value = 0.01,
            .unit = "share of the device blocks",
            .help = "kept free when a group is admitted or swapped in, so that running ones can append",
            .minimum = 0,
            .maximum = 1}}});
}

}  // namespace pagelab
