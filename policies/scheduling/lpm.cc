// Longest prefix match: the waiting request with the most tokens in the cache first (SGLang, section 3: with
// a cache as large as the longest request this visits a radix tree depth first, which no order beats).
#include "core/policy_registry.h"

namespace pagelab {
namespace {

class Lpm final : public SchedulingPolicy {
 public:
  double key(const GroupView& group, Seconds) override {
    return -static_cast<double>(group.cached_tokens().value());
  }
  bool keys_change() const override { return true; }
  bool reads_cache() const override { return true; }
};

}  // namespace

void register_scheduling_lpm(PolicyRegistry& registry) {
  registry.add<SchedulingPolicy, Lpm>({.name = "lpm",
                                       .summary = "the longest cached prefix first",
                                       .source = "SGLang (NeurIPS 2024), section 3"});
}

}  // namespace pagelab
