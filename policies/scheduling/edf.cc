// Earliest deadline first (Liu and Layland, 1973); requests without a deadline come last.
#include <limits>

#include "core/policy_registry.h"

namespace pagelab {
namespace {

class Edf final : public SchedulingPolicy {
 public:
  explicit Edf(const Parameters& parameters) : preemptive_(parameters.flag("preemptive")) {}

  double key(const GroupView& group, Seconds) override {
    return group.deadline().value_or(Seconds(std::numeric_limits<double>::infinity())).value();
  }
  bool displaces() const override { return preemptive_; }

 private:
  bool preemptive_;
};

}  // namespace

void register_scheduling_edf(PolicyRegistry& registry) {
  registry.add<SchedulingPolicy, Edf>(
      {.name = "edf",
       .summary = "the earliest deadline first",
       .source = "Liu and Layland (Journal of the ACM 20, 1973)",
       .parameters = {{.name = "preemptive",
                       .default_value = false,
                       .help = "a request that waits displaces running ones with later deadlines"}}});
}

}  // namespace pagelab
