// Policies that keep their contract and are bad all the same: the metrics of a run must show it.
#include "tests/policies/bad_policies.h"

#include <gtest/gtest.h>

#include "tests/support/builders.h"
#include "tests/support/hash_device.h"

namespace pagelab {
namespace {

using testing::HashDevice;
using testing::KeepingRecorder;
using testing::PolicyNames;
using testing::request;

/// How long each request took, beside all else that is kept.
class TimingRecorder final : public Recorder {
 public:
  void on_step(const StepRecord& record, std::span<const Decision> decisions) override {
    kept.on_step(record, decisions);
  }
  void on_finish(const SequenceGroup& group) override {
    latency += (group.finished - group.request.arrival).value();
    kept.on_finish(group);
  }
  void on_refuse(const Request& request, Seconds now, const std::string& why) override {
    kept.on_refuse(request, now, why);
  }

  KeepingRecorder kept;
  double latency = 0;  ///< summed over requests
};

template <class Policy>
PolicySet::Choice<Policy> bad(const std::string& name) {
  PolicyRegistry registry;
  testing::register_bad_policy(registry, name);
  return {name, registry.make<Policy>(name, Parameters())};
}

void serve(PolicySet set, std::int64_t blocks, std::vector<Request> requests, TimingRecorder& recorder) {
  HashDevice device(blocks, 0, 4);
  VirtualClock clock;
  testing::ListWorkload workload(std::move(requests));
  Engine engine(device, clock, workload, std::move(set), recorder);
  while (engine.step()) {
    engine.check_integrity();
  }
}

std::vector<Request> many(std::int64_t prompt, std::int64_t output, double apart = 0) {
  std::vector<Request> requests;
  for (std::int32_t id = 0; id < 24; ++id) {
    requests.push_back(request(id, prompt, output, id * apart));
  }
  return requests;
}

TEST(BadPolicies, ReverseOrderLetsTheEarlyWaitForTheLate) {
  TimingRecorder fcfs;
  serve(testing::policies(), 12, many(6, 12, 0.004), fcfs);
  TimingRecorder reverse;
  PolicySet set = testing::policies();
  set.scheduling = bad<SchedulingPolicy>("bad_reverse");
  serve(std::move(set), 12, many(6, 12, 0.004), reverse);
  EXPECT_EQ(reverse.kept.finished.size(), 24u);
  EXPECT_EQ(std::ranges::find(fcfs.kept.finished, 2) - fcfs.kept.finished.begin(), 2);
  EXPECT_GT(std::ranges::find(reverse.kept.finished, 2) - reverse.kept.finished.begin(), 12)
      << "who came early waits for most of those that came later";
}

std::int64_t recomputed(const TimingRecorder& recorder) {
  Tokens sum;
  for (const StepRecord& step : recorder.kept.steps) {
    sum += step.tokens_recomputed;
  }
  return sum.value();
}

TEST(BadPolicies, ThrashingRecomputesMoreAndTakesLonger) {
  TimingRecorder latest;
  serve(testing::policies(), 12, many(6, 12), latest);
  TimingRecorder thrash;
  PolicySet set = testing::policies();
  set.preemption = bad<PreemptionPolicy>("bad_thrash");
  serve(std::move(set), 12, many(6, 12), thrash);
  EXPECT_GT(recomputed(thrash), recomputed(latest));
  EXPECT_GT(thrash.latency, latest.latency);
}

/// Each prompt comes twice, with another one in between.
std::vector<Request> repeated() {
  std::vector<Request> requests;
  for (std::int32_t id = 0; id < 24; ++id) {
    requests.push_back(request(id, 24, 1, id * 10.0));
    if (id % 3 == 2) {
      requests.back().prompt = requests[static_cast<std::size_t>(id - 2)].prompt;
    }
  }
  return requests;
}

std::int64_t hits(const TimingRecorder& recorder) {
  Tokens sum;
  for (const StepRecord& step : recorder.kept.steps) {
    sum += step.tokens_hit;
  }
  return sum.value();
}

TEST(BadPolicies, EvictingTheMostRecentLosesHits) {
  const PolicyNames names{.sharing = "prefix_hash"};
  TimingRecorder lru;
  serve(testing::policies(names), 20, repeated(), lru);
  TimingRecorder most_recent;
  PolicySet set = testing::policies(names);
  set.eviction = bad<EvictionPolicy>("bad_most_recent");
  serve(std::move(set), 20, repeated(), most_recent);
  EXPECT_GT(hits(lru), 0);
  EXPECT_LT(hits(most_recent), hits(lru));
}

}  // namespace
}  // namespace pagelab
