// Shortest job first: requests in the order of their true output lengths, known from an oracle. It displaces
// nothing; srpt does.
#include "core/policy_registry.h"

namespace pagelab {
namespace {

class Sjf final : public SchedulingPolicy {
 public:
  Sjf(const Parameters&, const Oracle& oracle) : oracle_(oracle) {}

  double key(const GroupView& group, Seconds) override {
    return static_cast<double>(oracle_.output_tokens(group).value());
  }

 private:
  Oracle oracle_;
};

}  // namespace

void register_scheduling_sjf(PolicyRegistry& registry) {
  registry.add<SchedulingPolicy, Sjf>(
      {.name = "sjf",
       .summary = "the shortest output first, by its true length",
       .source = "the bound of Efficient LLM Scheduling by Learning to Rank (NeurIPS 2024)"});
}

}  // namespace pagelab
