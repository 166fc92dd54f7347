// Random: each cached block is as likely to go as any other. What a policy that knows something has to beat.
#include "core/random.h"
#include "core/keyed_eviction.h"
#include "core/policy_registry.h"

namespace pagelab {
namespace {

class Random final : public KeyedEviction {
 public:
  explicit Random(const Parameters& parameters)
      : stream_(static_cast<std::uint64_t>(parameters.integer("seed")), "eviction/random") {}

 protected:
  double key(const CachedBlock&) override { return stream_.uniform(); }

 private:
  RandomStream stream_;
};

}  // namespace

void register_eviction_random(PolicyRegistry& registry) {
  registry.add<EvictionPolicy, Random>(
      {.name = "random",
       .summary = "any block, each as likely as the others",
       .source = "Belady (IBM Systems Journal, 1966)",
       .parameters = {
           {.name = "seed", .default_value = std::int64_t{1}, .help = "of its draws", .minimum = 0}}});
}

}  // namespace pagelab
