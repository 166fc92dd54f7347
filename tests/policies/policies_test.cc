// What each built-in policy does that its neighbours on the axis do not, on cases that can be followed by
// hand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/policies/serve.h"
#include "tests/support/builders.h"

namespace pagelab {
namespace {

using ::testing::HasSubstr;
using testing::parallel;
using testing::PolicyNames;
using testing::request;
using testing::serve;

PolicyNames batching(const std::string& name, std::int64_t max_tokens, std::int64_t max_sequences = 256) {
  return {.batching = name,
          .parameters = {{"batching.max_tokens", max_tokens}, {"batching.max_sequences", max_sequences}}};
}

TEST(Fcfs, ServesInOrderOfArrival) {
  // One at a time: they finish as they came, not by length.
  const auto run =
      serve({request(0, 8, 9), request(1, 2, 1, 0.001), request(2, 2, 5, 0.002)}, batching("mixed", 2560, 1));
  EXPECT_EQ(run.record.finished, (std::vector<std::int32_t>{0, 1, 2}));
}

TEST(Mixed, TakesWholePromptsBesideDecodesUpToItsTokens) {
  const auto run = serve({request(0, 6, 4), request(1, 5, 4), request(2, 5, 4)}, batching("mixed", 11));
  EXPECT_EQ(run.record.steps[0].tokens_prefill, Tokens(11));  // 6 + 5, no room for the third
  EXPECT_EQ(run.record.steps[1].tokens_prefill, Tokens(5));
  EXPECT_EQ(run.record.steps[1].tokens_decode, Tokens(2));
}

TEST(Mixed, TakesAPromptBeyondItsTokensAlone) {
  const auto run = serve({request(0, 30, 2), request(1, 3, 2)}, batching("mixed", 8));
  EXPECT_EQ(run.record.steps[0].tokens_prefill, Tokens(30));
  EXPECT_EQ(run.record.finished.size(), 2u);
}

TEST(Mixed, RunsNoMoreSequencesThanAllowed) {
  const auto run =
      serve({parallel(request(0, 3, 4), 2), request(1, 3, 4), request(2, 3, 4)}, batching("mixed", 2560, 3));
  for (const StepRecord& step : run.record.steps) {
    EXPECT_LE(step.running, 2);
  }
  EXPECT_EQ(run.record.steps[0].running, 2);
}

TEST(PrefillFirst, NeverMixesAndPutsPromptsBeforeDecodes) {
  const auto run = serve({request(0, 4, 6), request(1, 4, 3, 0.012)}, batching("prefill_first", 2560));
  for (const StepRecord& step : run.record.steps) {
    EXPECT_TRUE(step.tokens_prefill == Tokens(0) || step.tokens_decode == Tokens(0)) << "step " << step.step;
  }
  EXPECT_EQ(run.record.steps[1].tokens_prefill, Tokens(4))
      << "the second prompt does not wait for the first's decodes";
}

TEST(Chunked, SplitsAPromptAndNeverStallsADecode) {
  const auto run = serve({request(0, 4, 12), request(1, 20, 2, 0.012)}, batching("chunked", 6));
  std::int64_t chunks = 0;
  for (std::size_t i = 1; i < 12; ++i) {
    EXPECT_GE(run.record.steps[i].tokens_decode, Tokens(1)) << "step " << i;
    chunks += run.record.steps[i].tokens_prefill > Tokens(0) ? 1 : 0;
    EXPECT_LE(run.record.steps[i].tokens_prefill + run.record.steps[i].tokens_decode, Tokens(6));
  }
  EXPECT_EQ(chunks, 4);  // 20 tokens beside one decode of a budget of 6
}

TEST(Paged, KeepsItsWatermarkFreeWhenItAdmits) {
  PolicyNames names;
  names.parameters["allocation.watermark"] = 0.5;
  const auto half = serve({request(0, 16, 2), request(1, 8, 2)}, names, 8);  // blocks of 4: 4 and 2 of 8
  EXPECT_EQ(half.record.steps[0].running, 1);
  names.parameters["allocation.watermark"] = 0.0;
  EXPECT_EQ(serve({request(0, 16, 2), request(1, 8, 2)}, names, 8).record.steps[0].running, 2);
}

std::pair<std::int64_t, std::int64_t> preemptions(const std::string& policy, std::int32_t n) {
  const std::vector<Request> requests{parallel(request(0, 6, 30), n), parallel(request(1, 6, 30), n)};
  const auto run = serve(requests, {.preemption = policy}, n == 1 ? 14 : 30);
  return {run.record.count(DecisionKind::preempt_recompute), run.record.count(DecisionKind::preempt_swap)};
}

TEST(Latest, RecomputesOneSequenceAndSwapsSeveral) {
  EXPECT_GT(preemptions("latest", 1).first, 0);
  EXPECT_EQ(preemptions("latest", 1).second, 0);
  EXPECT_EQ(preemptions("latest", 3).first, 0);
  EXPECT_GT(preemptions("latest", 3).second, 0);
}

TEST(Recompute, RecomputesSeveralSequencesToo) {
  EXPECT_GT(preemptions("recompute", 3).first, 0);
  EXPECT_EQ(preemptions("recompute", 3).second, 0);
}

TEST(Swap, SwapsOneSequenceToo) {
  EXPECT_EQ(preemptions("swap", 1).first, 0);
  EXPECT_GT(preemptions("swap", 1).second, 0);
}

TEST(PolicyRegistry, ListsEveryAxisWithItsStandardFirst) {
  PolicyRegistry registry;
  register_builtin_policies(registry);
  ASSERT_EQ(registry.axes().size(), 7u);
  for (const auto& axis : registry.axes()) {
    ASSERT_FALSE(axis.policies.empty()) << axis.name;
    EXPECT_EQ(axis.policies.front().info.name, axis.standard);
    for (const PolicyEntry& entry : axis.policies) {
      EXPECT_FALSE(entry.info.summary.empty());
      EXPECT_FALSE(entry.info.source.empty());
    }
  }
}

TEST(PolicyRegistry, AnUnknownNameIsAnErrorWithTheValidOnes) {
  PolicyRegistry registry;
  register_builtin_policies(registry);
  try {
    registry.find("preemption", "recomput");
    FAIL();
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("latest, recompute, swap, cost"));
    EXPECT_THAT(error.what(), HasSubstr("did you mean 'recompute'?"));
  }
}

}  // namespace
}  // namespace pagelab
