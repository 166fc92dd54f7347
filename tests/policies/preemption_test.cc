// The preemption policies on cases that can be followed by hand: who gives way, how it comes back, and what
// becomes of blocks that it keeps.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "core/error.h"
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
using testing::Run;

/// Without a watermark: all of the blocks can be used.
Run serve_within(std::vector<Request> requests, PolicyNames names, std::int64_t blocks) {
  names.parameters["allocation.watermark"] = 0.0;
  return testing::serve(std::move(requests), names, blocks);
}

PolicyNames preemption(const std::string& name) {
  return {.preemption = name};
}

std::vector<std::pair<std::int32_t, DecisionKind>> preempted(const Run& run) {
  std::vector<std::pair<std::int32_t, DecisionKind>> out;
  for (const auto& event : run.record.events) {
    if (event.kind == DecisionKind::preempt_recompute || event.kind == DecisionKind::preempt_swap) {
      out.emplace_back(event.request, event.kind);
    }
  }
  return out;
}

/// Of five groups that fill the pool exactly, each of the last four is some policy's victim when the first
/// needs a block: 1 holds the most blocks, 2 has the fewest tokens, 3 the lowest priority, 4 came last.
std::int32_t first_victim(const std::string& policy) {
  std::vector<Request> requests = {request(0, 4, 2), request(1, 24, 2), request(2, 8, 2), request(3, 12, 2),
                                   request(4, 16, 2)};
  for (Request& r : requests) {
    r.priority = 1;
  }
  requests[3].priority = -1;
  return preempted(serve_within(requests, preemption(policy), 1 + 6 + 2 + 3 + 4)).at(0).first;
}

TEST(Preemption, EveryPolicyChoosesItsOwnVictim) {
  EXPECT_EQ(first_victim("latest"), 4);
  EXPECT_EQ(first_victim("largest"), 1);
  EXPECT_EQ(first_victim("lcf"), 2);
  EXPECT_EQ(first_victim("lowest_priority"), 3);
  EXPECT_EQ(first_victim("cost"), 4);
  EXPECT_EQ(first_victim("tail"), 4);
}

TEST(Preemption, OfEqualsTheOneBehindGivesWay) {
  for (const char* policy : {"lcf", "largest", "lowest_priority"}) {
    const auto run =
        serve_within({request(0, 4, 2), request(1, 8, 2), request(2, 8, 2)}, preemption(policy), 5);
    EXPECT_EQ(preempted(run).at(0).first, 2) << policy;
  }
}

TEST(LowestPriority, SwapsAGroupOfSeveralSequences) {
  std::vector<Request> requests = {request(0, 8, 14), parallel(request(1, 8, 9), 2), request(2, 8, 14)};
  requests[1].priority = -1;
  EXPECT_EQ(preempted(serve_within(requests, preemption("lowest_priority"), 10)).at(0),
            (std::pair{1, DecisionKind::preempt_swap}));
}

TEST(Largest, CountsASharedBlockOnce) {
  // Two samples of 8 prompt tokens hold 2 blocks together and 2 of their own: 4, fewer than the other's 5.
  const auto run = serve_within({request(0, 5, 12), request(1, 17, 4), parallel(request(2, 8, 4), 2)},
                                preemption("largest"), 2 + 5 + 4);
  EXPECT_EQ(preempted(run).at(0).first, 1);
}

class ChoosesTheFirst final : public PreemptionPolicy {
  Victim choose(std::span<const GroupView>) override { return {0, PreemptionMode::recompute, "the first"}; }
};

Run serve_with(std::unique_ptr<PreemptionPolicy> policy, Device& device, std::vector<Request> requests) {
  Run run;
  VirtualClock clock;
  testing::ListWorkload workload(std::move(requests));
  PolicySet set = testing::policies({.parameters = {{"allocation.watermark", 0.0}}});
  set.preemption = {"own", std::move(policy)};
  Engine engine(device, clock, workload, std::move(set), run.record);
  while (engine.step()) {
    engine.check_integrity();
  }
  return run;
}

TEST(Preemption, TheFirstOfAllGroupsNeverGivesWay) {
  HashDevice device(10, 0, 4);
  const auto run = serve_with(std::make_unique<ChoosesTheFirst>(), device,
                              {request(0, 8, 20), request(1, 8, 20), request(2, 8, 20)});
  EXPECT_EQ(run.record.finished.front(), 0);
  EXPECT_EQ(run.record.finished.size(), 3u);
  for (const auto& [victim, kind] : preempted(run)) {
    EXPECT_NE(victim, 0);
  }
}

// --- Keeping a part.

std::int64_t recomputed(const Run& run) {
  Tokens sum;
  for (const StepRecord& step : run.record.steps) {
    sum += step.tokens_recomputed;
  }
  return sum.value();
}

TEST(Tail, GivesUpWhatIsMissingAndRecomputesNoMore) {
  // The first group needs one block more; of the second's four the last goes, with 4 of its 16 tokens.
  const std::vector<Request> requests = {request(0, 4, 3), request(1, 16, 3)};
  const auto tail = serve_within(requests, preemption("tail"), 5);
  EXPECT_EQ(recomputed(tail), 4);
  EXPECT_EQ(tail.record.count(DecisionKind::trim), 0);
  EXPECT_EQ(recomputed(serve_within(requests, preemption("latest"), 5)), 16);
}

TEST(Tail, WhatItKeptGoesBlockByBlockAsOthersNeedIt) {
  // The first group grows to 4 blocks: the second gives up one, and two of the three that it kept.
  const auto run = serve_within({request(0, 4, 10), request(1, 16, 3)}, preemption("tail"), 5);
  EXPECT_EQ(run.record.count(DecisionKind::preempt_recompute), 1);
  EXPECT_EQ(run.record.count(DecisionKind::trim), 2);
  EXPECT_EQ(recomputed(run), 12);
}

TEST(Tail, KeptBlocksCountAsTokensUntilTheyGo) {
  const auto run = serve_within({request(0, 4, 10), request(1, 16, 3)}, preemption("tail"), 5);
  const StepRecord& after = run.record.steps[1];
  EXPECT_EQ(after.slots.token, Tokens(5 + 12));
  EXPECT_EQ(after.slots.reserved, Tokens(3));
  EXPECT_EQ(after.slots.free, Tokens(0));
  EXPECT_EQ(after.blocks_logical, Blocks(2)) << "entries of running groups";
}

/// Preempts request 1 as a whole, then request 2, which keeps three blocks.
class KeepsBehind final : public PreemptionPolicy {
  Victim choose(std::span<const GroupView> candidates) override {
    const std::size_t last = candidates.size() - 1;
    const bool both = candidates[0].request() == RequestId(1);
    const Blocks keep(!both && !kept_ ? 3 : 0);
    kept_ = kept_ || !both;
    return {both ? 0 : last, PreemptionMode::recompute, "", keep};
  }
  bool kept_ = false;
};

TEST(Tail, AWaitingGroupAheadTakesWhatOneBehindKept) {
  HashDevice device(11, 0, 4);
  const auto run = serve_with(std::make_unique<KeepsBehind>(), device,
                              {request(0, 20, 9), request(1, 8, 20), request(2, 16, 20)});
  EXPECT_EQ(run.record.finished.size(), 3u);
  const auto& events = run.record.events;
  const auto trim = std::ranges::find(events, DecisionKind::trim, &testing::KeepingRecorder::Event::kind);
  ASSERT_NE(trim, events.end());
  EXPECT_EQ(trim->request, 2);
  const auto next = std::next(trim);
  ASSERT_NE(next, events.end());
  EXPECT_EQ(next->kind, DecisionKind::admit);
  EXPECT_EQ(next->request, 1);
  EXPECT_EQ(next->step, trim->step);
}

class Keeps final : public PreemptionPolicy {
 public:
  Keeps(PreemptionMode mode, Blocks keep) : mode_(mode), keep_(keep) {}

 private:
  Victim choose(std::span<const GroupView> candidates) override {
    return {candidates.size() - 1, mode_, "", keep_};
  }
  PreemptionMode mode_;
  Blocks keep_;
};

std::string error_of(PreemptionMode mode, std::int64_t keep, std::int32_t n = 1) {
  HashDevice device(5 + n - 1, 8, 4);
  try {
    serve_with(std::make_unique<Keeps>(mode, Blocks(keep)), device,
               {request(0, 4, 9), parallel(request(1, 16, 3), n)});
  } catch (const PolicyError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Preemption, KeepingMoreThanMayBeKeptIsAnError) {
  EXPECT_EQ(error_of(PreemptionMode::recompute, 3), "no error");
  EXPECT_THAT(error_of(PreemptionMode::recompute, 4),
              HasSubstr("preemption/own, step 1: it lets request 1 keep 4 of 4 blocks"));
  EXPECT_THAT(error_of(PreemptionMode::recompute, -1), HasSubstr("keep -1 of 4 blocks"));
  EXPECT_THAT(error_of(PreemptionMode::swap, 1), HasSubstr("keep 1 of 4 blocks"));
  EXPECT_THAT(error_of(PreemptionMode::recompute, 1, 2), HasSubstr("only a group of one sequence"));
}

// --- Costs.

/// A device that tells what preempting costs: recomputing per token, swapping per block and way.
class Priced final : public Device, private PreemptionCosts {
 public:
  Priced(double token_s, double block_s, std::int64_t blocks = 7)
      : token_s_(token_s), block_s_(block_s), inside_(blocks, blocks, 4) {}

  DeviceCapacity capacity() const override { return inside_.capacity(); }
  void execute(const StepBatch& batch, StepResult& result) override { inside_.execute(batch, result); }
  const PreemptionCosts* preemption_costs() const override { return this; }

 private:
  std::optional<Seconds> recompute(Tokens context) const override {
    return Seconds(token_s_ * static_cast<double>(context.value()));
  }
  std::optional<Seconds> swap_out(Blocks blocks) const override {
    return Seconds(block_s_ * static_cast<double>(blocks.value()));
  }
  std::optional<Seconds> swap_in(Blocks blocks) const override { return swap_out(blocks); }

  double token_s_, block_s_;
  HashDevice inside_;
};

/// How the second group is preempted: with `prompt` tokens computed, while the first needs a block.
DecisionKind way(double token_s, double block_s, std::int64_t prompt, double hysteresis = 0) {
  Priced device(token_s, block_s);
  const std::int64_t blocks = blocks_for(Tokens(prompt), Tokens(4)).value();
  const auto run =
      testing::run(device, {request(0, 4 * (7 - blocks), 3), request(1, prompt, 3)},
                   {.preemption = "cost",
                    .parameters = {{"allocation.watermark", 0.0}, {"preemption.hysteresis", hysteresis}}});
  return preempted(run).at(0).second;
}

TEST(Cost, TakesTheCheaperWayOfEachVictim) {
  // A block of 4 tokens costs 4 to compute and 3 to swap there and back, but one of 1 token costs 1 and 3.
  EXPECT_EQ(way(1, 1.5, 8), DecisionKind::preempt_swap);
  EXPECT_EQ(way(1, 1.5, 5), DecisionKind::preempt_recompute);
  EXPECT_EQ(way(1, 2.5, 8), DecisionKind::preempt_recompute);
}

TEST(Cost, KeepsItsWayWhileTheOtherIsHardlyCheaper) {
  EXPECT_EQ(way(1, 1.9, 8), DecisionKind::preempt_swap);
  EXPECT_EQ(way(1, 1.9, 8, 0.1), DecisionKind::preempt_recompute) << "7.6 is not a tenth less than 8";
  EXPECT_EQ(way(1, 1.7, 8, 0.1), DecisionKind::preempt_swap);
}

TEST(Cost, SwapsWhatWasRecomputedForLittle) {
  // The first group wants a free block although it stays within its own: the second one comes and goes. Once
  // it was recomputed for 3 and then 4 tokens, and drew one token in between, swapping for 5 would have been
  // cheaper.
  Priced device(1, 2.5, 4);
  const auto ways = [&](std::int64_t progress) {
    return preempted(testing::run(device, {request(0, 9, 4), request(1, 3, 4)},
                                  {.preemption = "cost",
                                   .parameters = {{"allocation.watermark", 0.0},
                                                  {"preemption.hysteresis", 0.0},
                                                  {"preemption.progress", progress}}}));
  };
  EXPECT_EQ(ways(4), (std::vector{std::pair{1, DecisionKind::preempt_recompute},
                                  std::pair{1, DecisionKind::preempt_swap}}));
  EXPECT_EQ(ways(1), (std::vector{std::pair{1, DecisionKind::preempt_recompute},
                                  std::pair{1, DecisionKind::preempt_recompute}}));
}

TEST(Cost, GoesByItsOwnRatesWhereTheDeviceKnowsNone) {
  const auto way_by = [](double token_s, double byte_s) {
    PolicyNames names = preemption("cost");
    names.parameters["preemption.hysteresis"] = 0.0;
    names.parameters["preemption.recompute_token_s"] = token_s;
    names.parameters["preemption.swap_byte_s"] = byte_s;
    return preempted(serve_within({request(0, 4, 3), request(1, 16, 3)}, names, 5)).at(0).second;
  };
  // 16 tokens in 4 blocks of 32 bytes: 256 bytes there and back.
  EXPECT_EQ(way_by(1.0, 1.0 / 17), DecisionKind::preempt_swap);
  EXPECT_EQ(way_by(1.0, 1.0 / 13), DecisionKind::preempt_recompute);
}

TEST(Cost, RecomputesWhatTheHostHasNoRoomFor) {
  HashDevice device(5, 3, 4);
  const auto run = testing::run(device, {request(0, 4, 3), request(1, 16, 3)},
                                {.preemption = "cost",
                                 .parameters = {{"allocation.watermark", 0.0},
                                                {"preemption.recompute_token_s", 1.0},
                                                {"preemption.swap_byte_s", 0.0}}});
  EXPECT_EQ(preempted(run).at(0), (std::pair{1, DecisionKind::preempt_recompute}));
}

}  // namespace
}  // namespace pagelab
