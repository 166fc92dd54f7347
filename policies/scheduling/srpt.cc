// Shortest remaining processing time: whoever has the fewest output tokens left, known from an oracle, goes
// first and displaces those with more (Schrage, 1968: no order has a lower mean response time on one server).
#include "core/policy_registry.h"

namespace pagelab {
namespace {

class Srpt final : public SchedulingPolicy {
 public:
  Srpt(const Parameters&, const Oracle& oracle) : oracle_(oracle) {}

  double key(const GroupView& group, Seconds) override {
    return static_cast<double>((oracle_.output_tokens(group) - group.output_tokens()).value());
  }
  bool keys_change() const override { return true; }
  bool displaces() const override { return true; }

 private:
  Oracle oracle_;
};

}  // namespace

void register_scheduling_srpt(PolicyRegistry& registry) {
  registry.add<SchedulingPolicy, Srpt>(
      {.name = "srpt",
       .summary = "the fewest output tokens left first, by true lengths; displaces",
       .source = "Schrage (Operations Research 16, 1968)"});
}

}  // namespace pagelab
