// The times between tokens: which pauses count, and how near the histogram's percentiles are.
#include "experiments/token_pauses.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <deque>

#include "core/random.h"

namespace pagelab {
namespace {

/// Steps that follow each other, with the requests that draw a token in each.
class Steps {
 public:
  void step(double duration, const std::vector<std::int32_t>& drawing) {
    std::vector<Decision> decisions;
    for (const std::int32_t id : drawing) {
      while (groups_.size() <= static_cast<std::size_t>(id)) {
        const RequestId next(static_cast<std::int32_t>(groups_.size()));
        groups_.emplace_back().request.id = next;
      }
      decisions.push_back({.kind = DecisionKind::proceed,
                           .group = &groups_[static_cast<std::size_t>(id)],
                           .tokens = Tokens(1),
                           .completes = true});
    }
    StepRecord record;
    record.time = now_;
    record.duration = Seconds(duration);
    now_ += record.duration;
    pauses_.on_step(record, decisions);
  }
  Distribution distribution() const { return pauses_.distribution(); }

 private:
  std::deque<SequenceGroup> groups_;
  TokenPauses pauses_;
  Seconds now_;
};

TEST(TokenPauses, AreNoneBeforeASecondToken) {
  Steps steps;
  steps.step(1, {0, 1});
  EXPECT_EQ(steps.distribution().count, 0);
  EXPECT_EQ(steps.distribution().p99, 0);
}

TEST(TokenPauses, SpanTheStepsWithoutTheRequest) {
  Steps steps;
  steps.step(1, {0, 1});
  steps.step(2, {1});       // 1 pauses 2 s
  steps.step(4, {});        // a stall
  steps.step(0.5, {0, 1});  // 0 pauses 6.5 s, 1 4.5 s
  const Distribution d = steps.distribution();
  EXPECT_EQ(d.count, 3);
  EXPECT_DOUBLE_EQ(d.mean, (2 + 6.5 + 4.5) / 3);
  EXPECT_DOUBLE_EQ(d.max, 6.5);
  EXPECT_NEAR(d.p50, 4.5, 0.02);
}

TEST(TokenPauses, PercentilesAreNearTheExactOnes) {
  Steps steps;
  RandomStream random(1, "pauses");
  std::vector<double> exact;
  steps.step(1, {0});
  for (int i = 0; i < 20000; ++i) {
    exact.push_back(std::exp(3 * random.normal()) * 0.01);
    steps.step(exact.back(), {0});
  }
  std::sort(exact.begin(), exact.end());
  const Distribution d = steps.distribution();
  EXPECT_NEAR(d.p50 / exact[9999], 1, 0.005);
  EXPECT_NEAR(d.p90 / exact[17999], 1, 0.005);
  EXPECT_NEAR(d.p99 / exact[19799], 1, 0.005);
  EXPECT_DOUBLE_EQ(d.max, exact.back());
}

TEST(TokenPauses, BeyondTheHistogramTheMaximumStillHolds) {
  Steps steps;
  steps.step(1, {0});
  steps.step(0, {0});
  steps.step(1e9, {0});
  const Distribution d = steps.distribution();
  EXPECT_EQ(d.count, 2);
  EXPECT_DOUBLE_EQ(d.max, 1e9);
  EXPECT_LE(d.p99, 1e9);
}

}  // namespace
}  // namespace pagelab
