// Prefix caching in a radix tree: full blocks stay cached when their sequences end, and are evicted from the
// leaves inwards, so that what is cached can always be reached (SGLang, RadixAttention). With a block size of
// 1 prompts share to the token.
#include "core/policy_registry.h"
#include "policies/sharing/prefix_sharing.h"
#include "policies/sharing/radix_index.h"

namespace pagelab {

void register_sharing_prefix_radix(PolicyRegistry& registry) {
  registry.add<SharingPolicy, PrefixSharing<RadixIndex>>(
      {.name = "prefix_radix",
       .summary = "as group, and full blocks are cached for all prompts in a tree; leaves are evicted first",
       .source = "SGLang (NeurIPS 2024), section 3, RadixAttention",
       .parameters = prefix_parameters()});
}

}  // namespace pagelab
