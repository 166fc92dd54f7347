// Least frequently used: the content with the fewest uses since it was cached goes first, of those with
// equally many the one that was used or let go of longest ago.
#include "core/keyed_eviction.h"
#include "core/policy_registry.h"

namespace pagelab {
namespace {

class Lfu final : public KeyedEviction {
 protected:
  double key(const CachedBlock& block) override { return static_cast<double>(block.uses); }
};

}  // namespace

void register_eviction_lfu(PolicyRegistry& registry) {
  registry.add<EvictionPolicy, Lfu>({.name = "lfu",
                                     .summary = "the block with the fewest uses since it was cached",
                                     .source = "Robinson and Devarakonda (SIGMETRICS'90), without ageing"});
}

}  // namespace pagelab
