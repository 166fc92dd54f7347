// Displacement: a group that waits takes the place of a running one that comes after it in scheduling order,
// when and only when the scheduling policy displaces.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/builders.h"
#include "tests/support/hash_device.h"

namespace pagelab {
namespace {

using ::testing::ElementsAre;
using ::testing::Gt;
using testing::HashDevice;
using testing::PolicyNames;
using testing::request;

Request urgent(Request request, std::int32_t priority) {
  request.priority = priority;
  return request;
}

PolicyNames by_priority(bool displaces, std::int64_t places, const std::string& preemption = "latest") {
  return {.scheduling = "priority",
          .preemption = preemption,
          .parameters = {{"scheduling.preemptive", displaces}, {"batching.max_sequences", places}}};
}

/// The steps in which decisions of a kind were taken for a request.
std::vector<std::int64_t> steps_of(const testing::Run& run, DecisionKind kind, std::int32_t request) {
  std::vector<std::int64_t> steps;
  for (const auto& event : run.record.events) {
    if (event.kind == kind && event.request == request) {
      steps.push_back(event.step);
    }
  }
  return steps;
}

// Steps take 10 ms and 1 ms for each token. Request 0 runs from step 0; request 1 comes in step 1.
const std::vector<Request> one_then_an_urgent_one = {request(0, 4, 10), urgent(request(1, 4, 3, 0.012), 5)};

TEST(Displacement, TakesTheOnlyPlaceAndGivesItBack) {
  HashDevice device(64, 64, 4);
  const auto run = testing::run(device, one_then_an_urgent_one, by_priority(true, 1));
  EXPECT_THAT(steps_of(run, DecisionKind::preempt_recompute, 0), ElementsAre(1));
  EXPECT_THAT(steps_of(run, DecisionKind::admit, 1), ElementsAre(2))
      << "the step that preempts admits nobody";
  EXPECT_THAT(steps_of(run, DecisionKind::admit, 0), ElementsAre(0, 5)) << "when request 1 is done";
  EXPECT_THAT(run.record.finished, ElementsAre(1, 0));
  const auto displaced =
      std::find_if(run.record.events.begin(), run.record.events.end(),
                   [](const auto& event) { return event.kind == DecisionKind::preempt_recompute; });
  EXPECT_EQ(displaced->reason, "a group that goes before it takes its place");
}

TEST(Displacement, HappensOnlyIfThePolicyWantsIt) {
  HashDevice device(64, 64, 4);
  const auto run = testing::run(device, one_then_an_urgent_one, by_priority(false, 1));
  EXPECT_EQ(run.progress.preemptions, 0);
  EXPECT_THAT(run.record.finished, ElementsAre(0, 1));
}

TEST(Displacement, LeavesOthersAloneWhereThereIsRoom) {
  HashDevice device(64, 64, 4);
  EXPECT_EQ(testing::run(device, one_then_an_urgent_one, by_priority(true, 2)).progress.preemptions, 0);
}

TEST(Displacement, DoesNotHitWhoComesBefore) {
  HashDevice device(64, 64, 4);
  const auto run =
      testing::run(device, {urgent(request(0, 4, 10), 5), request(1, 4, 3, 0.012)}, by_priority(true, 1));
  EXPECT_EQ(run.progress.preemptions, 0);
}

TEST(Displacement, TakesAsManyBlocksAsAreLackingAndNoMore) {
  // Two groups hold 4 blocks each of 10; an urgent one needs 5: the later of the two makes room.
  HashDevice device(10, 10, 4);
  const auto run =
      testing::run(device, {request(0, 13, 3), request(1, 13, 3), urgent(request(2, 20, 2, 0.011), 5)},
                   by_priority(true, 9));
  EXPECT_THAT(steps_of(run, DecisionKind::preempt_recompute, 0), ElementsAre());
  EXPECT_THAT(steps_of(run, DecisionKind::preempt_recompute, 1), ElementsAre(1));
  EXPECT_THAT(steps_of(run, DecisionKind::admit, 2), ElementsAre(2));
}

TEST(Displacement, PreemptsNobodyWhereThatWouldNotBeEnough) {
  // The urgent one needs 5 blocks; the one that it goes before holds 2 of 10, the other one stays.
  HashDevice device(10, 10, 4);
  const auto run = testing::run(
      device, {urgent(request(0, 24, 6), 9), request(1, 6, 3), urgent(request(2, 20, 2, 0.011), 5)},
      by_priority(true, 9));
  EXPECT_EQ(run.progress.preemptions, 0);
}

TEST(Displacement, LetsAGroupDrawATokenBeforeItIsDisplaced) {
  // In chunks of 5 the prompt of 20 takes four steps; the urgent request comes during the second.
  HashDevice device(64, 64, 4);
  PolicyNames names = by_priority(true, 1);
  names.batching = "chunked";
  names.parameters["batching.max_tokens"] = std::int64_t{5};
  const auto run = testing::run(device, {request(0, 20, 10), urgent(request(1, 4, 3, 0.02), 5)}, names);
  EXPECT_THAT(steps_of(run, DecisionKind::preempt_recompute, 0), ElementsAre(4));
}

TEST(Displacement, ASwappedGroupLetsMoreUrgentOnesPassAndComesBackBeforeLessUrgentOnes) {
  HashDevice device(64, 64, 4);
  const auto run = testing::run(
      device, {request(0, 4, 10), urgent(request(1, 4, 3, 0.012), 5), urgent(request(2, 4, 3, 0.013), -1)},
      by_priority(true, 1, "swap"));
  EXPECT_THAT(steps_of(run, DecisionKind::preempt_swap, 0), ElementsAre(1));
  EXPECT_THAT(steps_of(run, DecisionKind::admit, 1), ElementsAre(2)) << "though a group is swapped";
  EXPECT_THAT(run.record.finished, ElementsAre(1, 0, 2));
}

TEST(Displacement, LeavesABatchThatRunsToItsEndAlone) {
  HashDevice device(64, 64, 4);
  const auto run = testing::run(device, one_then_an_urgent_one,
                                {.scheduling = "priority",
                                 .batching = "static",
                                 .parameters = {{"batching.max_groups", std::int64_t{1}}}});
  EXPECT_EQ(run.progress.preemptions, 0);
}

/// Whoever ran goes last: every group displaces every other one again and again.
class Restless final : public SchedulingPolicy {
 public:
  double key(const GroupView& group, Seconds) override {
    return group.state() == GroupState::running ? 1.0 : 0.0;
  }
  bool keys_change() const override { return true; }
  bool displaces() const override { return true; }
};

TEST(Displacement, EndsEvenIfThePolicyWouldHaveItGoOnForEver) {
  for (const char* preemption : {"recompute", "swap"}) {
    HashDevice device(64, 64, 4);
    VirtualClock clock;
    testing::ListWorkload workload({request(0, 9, 6), request(1, 9, 6), request(2, 9, 6)});
    testing::KeepingRecorder recorder;
    PolicySet set = testing::policies({.batching = "chunked",
                                       .preemption = preemption,
                                       .parameters = {{"batching.max_tokens", std::int64_t{4}},
                                                      {"batching.max_sequences", std::int64_t{1}}}});
    set.scheduling = {"restless", std::make_unique<Restless>()};
    Engine engine(device, clock, workload, std::move(set), recorder);
    std::int64_t steps = 0;
    while (engine.step() && steps < 2000) {
      ++steps;
      engine.check_integrity();
    }
    EXPECT_EQ(recorder.finished.size(), 3u) << preemption;
    EXPECT_THAT(engine.progress().preemptions, Gt(6)) << preemption;
  }
}

}  // namespace
}  // namespace pagelab
