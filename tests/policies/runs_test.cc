// The policies of the PagedAttention paper's baselines: runs of adjacent blocks, static batches, pinned
// prefixes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>

#include "core/error.h"
#include "policies/allocation/buddy_runs.h"
#include "tests/policies/serve.h"
#include "tests/support/builders.h"
#include "tests/support/hash_device.h"

namespace pagelab {
namespace {

using testing::HashDevice;
using ::testing::HasSubstr;
using testing::parallel;
using testing::PolicyNames;
using testing::request;
using testing::serve;

PolicyNames runs(const std::string& allocation, std::int64_t max_length = 32) {
  return {.allocation = allocation, .sharing = "none", .parameters = {{"allocation.max_length", max_length}}};
}

TEST(BuddyRuns, CutsThePoolGreedilyAndTakesTheFirstRun) {
  BuddyRuns buddies(Blocks(22), Blocks(8));  // runs of 8, 8, 4 and 2
  EXPECT_EQ(buddies.take(Blocks(3)), BlockId(16)) << "the run of 4, though it is behind the larger ones";
  EXPECT_EQ(buddies.take(Blocks(4)), BlockId(0)) << "a half of the first run of 8";
  EXPECT_EQ(buddies.take(Blocks(8)), BlockId(8));
  EXPECT_EQ(buddies.take(Blocks(5)), std::nullopt) << "6 blocks are free, but not 8 adjacent ones";
  EXPECT_EQ(buddies.free(), Blocks(22 - 4 - 4 - 8));
  buddies.give_back(BlockId(0), Blocks(4));
  EXPECT_EQ(buddies.take(Blocks(5)), BlockId(0)) << "the halves merged";
}

TEST(BuddyRuns, TakesNothingLongerThanTheLongest) {
  BuddyRuns buddies(Blocks(64), Blocks(6));
  EXPECT_TRUE(buddies.take(Blocks(8)).has_value());
  EXPECT_FALSE(buddies.take(Blocks(9)).has_value());
}

RC_GTEST_PROP(BuddyRunsProperty, RunsNeverOverlapAndAllMergesInTheEnd, ()) {
  const auto capacity = *rc::gen::inRange<std::int64_t>(1, 200);
  BuddyRuns buddies(Blocks(capacity), Blocks(*rc::gen::inRange<std::int64_t>(1, 130)));
  std::vector<int> owner(static_cast<std::size_t>(capacity), 0);
  std::vector<std::pair<BlockId, Blocks>> taken;
  for (const int step : *rc::gen::container<std::vector<int>>(rc::gen::inRange(0, 60))) {
    if (step < 20 && !taken.empty()) {
      const auto at = static_cast<std::size_t>(step) % taken.size();
      for (std::int64_t i = 0; i < taken[at].second.value(); ++i) {
        owner[taken[at].first.index() + static_cast<std::size_t>(i)] = 0;
      }
      buddies.give_back(taken[at].first, taken[at].second);
      taken.erase(taken.begin() + static_cast<std::ptrdiff_t>(at));
      continue;
    }
    const Blocks blocks(step + 1);
    if (const auto first = buddies.take(blocks)) {
      for (std::int64_t i = 0; i < blocks.value(); ++i) {
        RC_ASSERT(first->index() + static_cast<std::size_t>(i) < owner.size());
        RC_ASSERT(owner[first->index() + static_cast<std::size_t>(i)]++ == 0);
      }
      taken.emplace_back(*first, blocks);
    }
  }
  for (const auto& [first, blocks] : taken) {
    buddies.give_back(first, blocks);
  }
  RC_ASSERT(buddies.free() == Blocks(capacity));
}

TEST(BuddyMax, ServesAsManyAsTheLongestFitWhateverTheyNeed) {
  std::vector<Request> requests;
  for (std::int32_t id = 0; id < 5; ++id) {
    requests.push_back(request(id, 5, 3));
  }
  const auto run = serve(requests, runs("buddy_max"), 19);  // two runs of 8 blocks, and 3 blocks
  EXPECT_EQ(run.record.steps[0].running, 2);
  const SlotLedger& slots = run.record.steps[0].slots;
  EXPECT_EQ(slots.token, Tokens(2 * 5));
  EXPECT_EQ(slots.reserved, Tokens(2 * 2)) << "7 slots in the end: the last token's KV is never needed";
  EXPECT_EQ(slots.internal, Tokens(2 * 25));
  EXPECT_EQ(slots.external, Tokens(0));
  EXPECT_EQ(slots.free, Tokens(3 * 4));
  EXPECT_EQ(run.record.finished.size(), 5u);
}

TEST(BuddyPow2, RoundsTheOutputUpAndTheRunToAPowerOfTwo) {
  // 6 + 16 for 9 tokens are 22 slots, 6 blocks, a run of 8.
  const auto run = serve({request(0, 6, 9)}, runs("buddy_pow2", 64), 32);
  const SlotLedger& slots = run.record.steps[0].slots;
  EXPECT_EQ(slots.token + slots.reserved, Tokens(14));
  EXPECT_EQ(slots.internal, Tokens(24 - 14));
  EXPECT_EQ(slots.external, Tokens(2 * 4)) << "what the run is longer than asked for";
  EXPECT_EQ(slots.free, Tokens(24 * 4));
}

TEST(BuddyOracle, SetsAsideTheTrueLength) {
  const auto run = serve({request(0, 6, 9)}, runs("buddy_oracle", 64), 32);
  const SlotLedger& slots = run.record.steps[0].slots;
  EXPECT_EQ(slots.token + slots.reserved, Tokens(14));
  EXPECT_EQ(slots.internal, Tokens(16 - 14));
  EXPECT_EQ(slots.external, Tokens(0));
}

TEST(BuddyOracle, DeclaresThatItNeedsAnOracle) {
  PolicyRegistry registry;
  register_builtin_policies(registry);
  for (const PolicyEntry& policy : registry.axis("allocation").policies) {
    const bool oracle = policy.info.name == "buddy_oracle" || policy.info.name == "buddy_pow2";
    EXPECT_EQ(policy.info.needs, oracle ? "oracle" : "") << policy.info.name;
  }
}

TEST(StaticMax, CutsThePoolOnce) {
  std::vector<Request> requests = {request(0, 5, 3), request(1, 5, 3), request(2, 5, 3)};
  const auto run =
      serve(requests, runs("static_max", 24), 15);  // two places of 6 blocks; buddies would make one of 8
  EXPECT_EQ(run.record.steps[0].running, 2);
}

TEST(Runs, EverySampleHasItsOwnWithThePromptCopied) {
  HashDevice device(64, 0, 4);
  const auto run = testing::run(device, {parallel(request(0, 9, 4), 3)}, runs("buddy_oracle"));
  EXPECT_EQ(run.record.steps[0].blocks_physical, Blocks(3 * 4));  // 13 slots each, all at once
  EXPECT_EQ(run.record.steps[1].blocks_copied, Blocks(2 * 4)) << "two forks copy a run of 4 blocks each";
  EXPECT_EQ(run.record.steps[1].blocks_logical, run.record.steps[1].blocks_physical);
}

TEST(Runs, AdmitAGroupOnlyWithAllOfItsSequences) {
  const auto run = serve({request(0, 9, 4), parallel(request(1, 9, 4), 3)}, runs("buddy_oracle"), 12);
  EXPECT_EQ(run.record.steps[0].running, 1) << "two runs of 4 are left, the group needs three";
  EXPECT_EQ(run.record.finished.size(), 2u);
}

TEST(Runs, RefuseWhatTheyCouldNeverHold) {
  const auto run =
      serve({request(0, 30, 10), parallel(request(1, 9, 4), 4), request(2, 4, 4)}, runs("buddy_max"), 24);
  EXPECT_THAT(run.record.refused.at(0), HasSubstr("need 39 slots, the allocation policy sets 32 aside"));
  EXPECT_THAT(run.record.refused.at(1), HasSubstr("32 blocks"));
  EXPECT_EQ(run.record.finished, (std::vector<std::int32_t>{2}));
}

TEST(Runs, ShareNoBlocks) {
  PolicyNames names = runs("buddy_max");
  names.sharing = "group";
  HashDevice device(64, 0, 4);
  EXPECT_THROW(testing::run(device, {request(0, 4, 4)}, names), InputError);
}

TEST(Static, RunsABatchToItsEndAndAnswersItTogether) {
  PolicyNames names{.batching = "static", .parameters = {{"batching.max_groups", std::int64_t{2}}}};
  const auto run = serve({request(0, 4, 2), request(1, 4, 9), request(2, 4, 2)}, names, 64);
  EXPECT_EQ(run.record.finished, (std::vector<std::int32_t>{0, 1, 2}));
  for (std::size_t step = 0; step < run.record.steps.size(); ++step) {
    EXPECT_EQ(run.record.steps[step].tokens_prefill, Tokens(step == 0   ? 8
                                                            : step == 9 ? 4
                                                                        : 0))
        << "step " << step;
  }
}

Request with_prefix(Request request, std::int64_t tokens) {
  const std::vector<TokenId> prefix = testing::request(999, tokens, 1).prompt;
  request.prompt.insert(request.prompt.begin(), prefix.begin(), prefix.end());
  request.shared_prefix = Tokens(tokens);
  return request;
}

TEST(PinnedPrefix, ComputesADeclaredPrefixOnceAndKeepsIt) {
  const PolicyNames names{.sharing = "pinned_prefix"};
  const auto run = serve({with_prefix(request(0, 3, 3), 10), with_prefix(request(1, 3, 3, 1.0), 10),
                          with_prefix(request(2, 5, 3, 1.0), 10), request(3, 9, 3, 2.0)},
                         names, 64);
  std::vector<std::int64_t> prefills;
  for (const StepRecord& step : run.record.steps) {
    if (step.tokens_prefill > Tokens(0)) {
      prefills.push_back(step.tokens_prefill.value());
    }
  }
  // Whole blocks only: 8 of the 10 tokens are kept, 2 are computed again with each request.
  EXPECT_EQ(prefills, (std::vector<std::int64_t>{13, 5 + 7, 9}));
  EXPECT_EQ(run.record.count(DecisionKind::pin_prefix), 1);
  const StepRecord& alone = run.record.steps.back();  // nobody uses the prefix any more
  EXPECT_EQ(alone.slots.cached, Tokens(8));
}

TEST(PinnedPrefix, NeverTakesWhatARequestNeedsToFinish) {
  const PolicyNames names{.sharing = "pinned_prefix", .parameters = {{"allocation.watermark", 0.0}}};
  // The second request needs the whole pool: nothing may be pinned.
  const auto run = serve({with_prefix(request(0, 3, 9), 10), request(1, 20, 21, 0.001)}, names, 10);
  EXPECT_EQ(run.record.count(DecisionKind::pin_prefix), 1) << "it came after the first prompt was computed";
  EXPECT_THAT(run.record.refused.at(1), HasSubstr("2 of them pinned"));
  const auto both = serve({with_prefix(request(0, 3, 9), 10), request(1, 20, 21)}, names, 10);
  EXPECT_EQ(both.record.count(DecisionKind::pin_prefix), 0);
  EXPECT_EQ(both.record.finished.size(), 2u);
}

}  // namespace
}  // namespace pagelab
