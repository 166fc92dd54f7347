// Recompute cost by depth and recency, after the retention value of Pensieve (EuroSys'25): what it costs to
// compute a block again, weighed with the chance that it is wanted.
//
//   value(block, now) = cost(depth) * 2^(-(now - last use) / H)
//   cost(depth)       = 1 + attention * depth          its linear layers, and attention to all before it
//   H                 = half_life * capacity           in uses of any block
//
// Time cancels when two blocks are compared, so the order is that of
//
//   key(block) = last use / H + log2(cost(depth))
//
// A block of B tokens attends to B * depth tokens before it: in a transformer with hidden size h that is
// about B / (6 h) of its other work for each block before it. Where every block has the same depth this is
// least recently used.
#include <cmath>

#include "core/keyed_eviction.h"
#include "core/policy_registry.h"

namespace pagelab {
namespace {

class Cost final : public KeyedEviction {
 public:
  explicit Cost(const Parameters& parameters)
      : attention_(parameters.real("attention")), half_life_(parameters.real("half_life")) {}

 protected:
  double key(const CachedBlock& block) override {
    const double half_life = half_life_ * static_cast<double>(cache().capacity().value());
    return static_cast<double>(block.last_use) / half_life + std::log2(1 + attention_ * block.depth);
  }

 private:
  double attention_;
  double half_life_;
};

}  // namespace

void register_eviction_cost(PolicyRegistry& registry) {
  registry.add<EvictionPolicy, Cost>(
      {.name = "cost",
       .summary = "the block with the least recompute cost (by depth) times chance of use (by recency)",
       .source = "after Pensieve (EuroSys'25); the formula is in policies/eviction/cost.cc",
       .parameters = {{.name = "attention",
                       .default_value = 0.001,
                       .unit = "of a block's other work",
                       .help = "cost of attending to one block before it; about block_size / (6 hidden size)",
                       .minimum = 0.0,
                       .maximum = 1000.0},
                      {.name = "half_life",
                       .default_value = 1.0,
                       .unit = "capacities",
                       .help = "uses of any block after which the chance of use has halved",
                       .maximum = 1e6,
                       .above = 0.0}}});
}

}  // namespace pagelab
