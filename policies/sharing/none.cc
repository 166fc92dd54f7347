// No sharing: every sequence has blocks of its own; a fork copies them all before the next step, as systems
// with a contiguous KV cache do (PagedAttention paper, section 6.3, on Orca).
#include "core/policy_registry.h"

namespace pagelab {
namespace {

class None final : public SharingPolicy {
 public:
  bool within_group() const override { return false; }
};

}  // namespace

void register_sharing_none(PolicyRegistry& registry) {
  registry.add<SharingPolicy, None>({.name = "none",
                                     .summary = "every sequence has its own blocks; a fork copies them",
                                     .source = "PagedAttention (SOSP 2023), section 6.3"});
}

}  // namespace pagelab
