// Priority: the most urgent request first, where waiting makes every request more urgent at the same rate
// (vLLM's priority scheduling, with ageing as in operating systems).
//
// At a time t a request's urgency is priority + ageing * (t - arrival). The order of two requests does not
// depend on t, so the key is constant, and a request goes after later ones only as long as they arrive within
// (their priority - its priority) / ageing seconds.
#include "core/policy_registry.h"

namespace pagelab {
namespace {

class Priority final : public SchedulingPolicy {
 public:
  explicit Priority(const Parameters& parameters)
      : ageing_per_s_(parameters.real("ageing_per_s")), preemptive_(parameters.flag("preemptive")) {}

  double key(const GroupView& group, Seconds) override {
    return ageing_per_s_ * group.arrival().value() - group.priority();
  }
  bool displaces() const override { return preemptive_; }

 private:
  double ageing_per_s_;
  bool preemptive_;
};

}  // namespace

void register_scheduling_priority(PolicyRegistry& registry) {
  registry.add<SchedulingPolicy, Priority>(
      {.name = "priority",
       .summary = "the highest priority first; waiting raises it",
       .source = "vLLM's priority scheduling; ageing is textbook",
       .parameters = {{.name = "ageing_per_s",
                       .default_value = 0.1,
                       .unit = "1/s",
                       .help = "what a second of waiting adds to a request's priority; 0: nothing",
                       .minimum = 0,
                       .maximum = 1e6},
                      {.name = "preemptive",
                       .default_value = true,
                       .help = "a request that waits displaces running ones of lower urgency"}}});
}

}  // namespace pagelab
