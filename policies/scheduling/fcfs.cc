// First come, first served: groups go in the order of their arrival; the earliest is served first and
// preempted last (PagedAttention paper, section 4.5).
#include "core/policy_registry.h"

namespace pagelab {
namespace {

class Fcfs final : public SchedulingPolicy {
 public:
  double key(const GroupView& group, Seconds) override { return group.arrival().value(); }
};

}  // namespace

void register_scheduling_fcfs(PolicyRegistry& registry) {
  registry.add<SchedulingPolicy, Fcfs>({.name = "fcfs",
                                        .summary = "first come, first served, by arrival time",
                                        .source = "PagedAttention (SOSP 2023), section 4.5",
                                        .bounds_waiting = true});
}

}  // namespace pagelab
