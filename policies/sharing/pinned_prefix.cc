// Pinned prefixes: sharing within a group, and besides the whole blocks of every prefix that the provider
// declares stay in the pool once computed, for all requests that begin with it (PagedAttention paper,
// section 4.4).
#include "core/policy_registry.h"

namespace pagelab {
namespace {

class PinnedPrefix final : public SharingPolicy {
 public:
  bool within_group() const override { return true; }
  bool pins_prefixes() const override { return true; }
};

}  // namespace

void register_sharing_pinned_prefix(PolicyRegistry& registry) {
  registry.add<SharingPolicy, PinnedPrefix>(
      {.name = "pinned_prefix",
       .summary = "as group, and declared prefixes stay for all later requests",
       .source = "PagedAttention (SOSP 2023), section 4.4"});
}

}  // namespace pagelab
