// MIN (Belady, A study of replacement algorithms for a virtual-storage computer, 1966): the content whose
// next reference is farthest away goes first. No policy misses less where every miss must be cached, and
// every content costs the same and is of use alone; so it is the bound that regret is counted from.
#include "core/keyed_eviction.h"
#include "core/policy_registry.h"

namespace pagelab {
namespace {

class Belady final : public KeyedEviction {
 public:
  Belady(const Parameters&, const Future& future) : future_(&future) {}

 protected:
  double key(const CachedBlock& block) override {
    return -static_cast<double>(future_->next_use(block.entry));
  }

 private:
  const Future* future_;
};

}  // namespace

void register_eviction_belady(PolicyRegistry& registry) {
  registry.add<EvictionPolicy, Belady>({.name = "belady",
                                        .summary = "the block whose next reference is farthest away",
                                        .source = "MIN (Belady, IBM Systems Journal, 1966)"});
}

}  // namespace pagelab
