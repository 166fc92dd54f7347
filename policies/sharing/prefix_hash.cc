// Prefix caching by hashes: full blocks stay cached when their sequences end, until evicted, and serve every
// later prompt that begins with the same tokens. Any idle block may be evicted; what continued it waits for
// its return (vLLM, automatic prefix caching).
#include "core/policy_registry.h"
#include "policies/sharing/hash_index.h"
#include "policies/sharing/prefix_sharing.h"

namespace pagelab {

void register_sharing_prefix_hash(PolicyRegistry& registry) {
  registry.add<SharingPolicy, PrefixSharing<HashIndex>>(
      {.name = "prefix_hash",
       .summary = "as group, and full blocks are cached for all prompts; any idle one may be evicted",
       .source = "vLLM, automatic prefix caching (block hashes, here with the tokens compared)",
       .parameters = prefix_parameters()});
}

}  // namespace pagelab
