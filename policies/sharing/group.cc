// Sharing within a group: parallel samples and beams use the same blocks for their common prefix; the last,
// partly filled one is copied when a sequence writes into it (PagedAttention paper, section 4.4).
#include "core/policy_registry.h"

namespace pagelab {
namespace {

class Group final : public SharingPolicy {
 public:
  bool within_group() const override { return true; }
};

}  // namespace

void register_sharing_group(PolicyRegistry& registry) {
  registry.add<SharingPolicy, Group>(
      {.name = "group",
       .summary = "sequences of a group share their common prefix, copied on write",
       .source = "PagedAttention (SOSP 2023), section 4.4"});
}

}  // namespace pagelab
