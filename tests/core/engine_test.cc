// The engine's rules, on small cases whose steps can be followed by hand.
#include "core/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/error.h"
#include "tests/support/builders.h"
#include "tests/support/hash_device.h"

namespace pagelab {
namespace {

using testing::beams;
using ::testing::ElementsAre;
using testing::HashDevice;
using ::testing::HasSubstr;
using testing::parallel;
using testing::request;
using testing::run;

TEST(Engine, ServesOneRequestToItsForcedLength) {
  HashDevice device(8, 0, 4);
  const auto result = run(device, {request(0, 5, 3)});
  ASSERT_EQ(result.record.outputs.at(0).size(), 1u);
  EXPECT_EQ(result.record.outputs.at(0)[0].output.size(), 3u);
  ASSERT_EQ(result.record.steps.size(), 3u);
  EXPECT_EQ(result.record.steps[0].tokens_prefill, Tokens(5));
  EXPECT_EQ(result.record.steps[1].tokens_decode, Tokens(1));
}

TEST(Engine, LedgerOfOneRequestIsExact) {
  HashDevice device(8, 0, 4);
  // 5 prompt tokens and 3 new ones: 7 slots are ever filled, in 2 blocks of 4.
  const auto result = run(device, {request(0, 5, 3)});
  const SlotLedger& first = result.record.steps[0].slots;
  EXPECT_EQ(first.total, Tokens(32));
  EXPECT_EQ(first.token, Tokens(5));
  EXPECT_EQ(first.reserved, Tokens(2));
  EXPECT_EQ(first.internal, Tokens(1));
  EXPECT_EQ(first.free, Tokens(24));
  EXPECT_EQ(result.record.steps[2].slots.token, Tokens(7));
  EXPECT_EQ(result.record.steps[2].slots.reserved, Tokens(0));
}

TEST(Engine, MixesPromptsWithDecodesInOneStep) {
  HashDevice device(64, 0, 4);
  const auto result = run(device, {request(0, 4, 5), request(1, 6, 3, 0.011)});
  EXPECT_EQ(result.record.steps[1].tokens_decode, Tokens(1));
  EXPECT_EQ(result.record.steps[1].tokens_prefill, Tokens(6));
}

TEST(Engine, WaitsForTheNextArrivalInVirtualTime) {
  HashDevice device(8, 0, 4);
  const auto result = run(device, {request(0, 2, 1), request(1, 2, 1, 5.0)});
  EXPECT_EQ(result.record.steps[1].time, Seconds(5.0));
}

TEST(Engine, PreemptsTheLatestAndRecomputesIt) {
  HashDevice device(4, 0, 2);
  const auto result = run(device, {request(0, 2, 5), request(1, 2, 5)});
  EXPECT_GE(result.record.count(DecisionKind::preempt_recompute), 1);
  for (const auto& event : result.record.events) {
    if (event.kind == DecisionKind::preempt_recompute) {
      EXPECT_EQ(event.request, 1);
    }
  }
  std::int64_t recomputed = 0;
  for (const StepRecord& step : result.record.steps) {
    recomputed += step.tokens_recomputed.value();
  }
  EXPECT_GT(recomputed, 0);
  EXPECT_THAT(result.record.finished, ElementsAre(0, 1));
}

TEST(Engine, SwapsAGroupOfSeveralSequencesAndBringsItBack) {
  HashDevice device(12, 12, 2);
  const auto result = run(device, {parallel(request(0, 3, 8), 2), parallel(request(1, 3, 8), 2)});
  EXPECT_GE(result.record.count(DecisionKind::preempt_swap), 1);
  EXPECT_EQ(result.record.count(DecisionKind::preempt_swap), result.record.count(DecisionKind::swap_in));
  EXPECT_EQ(result.record.count(DecisionKind::preempt_recompute), 0);
  Bytes in, out;
  for (const StepRecord& step : result.record.steps) {
    in += step.bytes_swapped_in;
    out += step.bytes_swapped_out;
    EXPECT_FALSE(step.bytes_swapped_in > Bytes(0) && step.bytes_swapped_out > Bytes(0))
        << "both ways in one step";
  }
  EXPECT_EQ(in, out);
  EXPECT_GT(in, Bytes(0));
}

TEST(Engine, ASwapWithoutHostRoomBecomesARecompute) {
  HashDevice device(12, 1, 2);
  const auto result = run(device, {parallel(request(0, 3, 8), 2), parallel(request(1, 3, 8), 2)});
  EXPECT_EQ(result.record.count(DecisionKind::preempt_swap), 0);
  ASSERT_GE(result.record.count(DecisionKind::preempt_recompute), 1);
  for (const auto& event : result.record.events) {
    if (event.kind == DecisionKind::preempt_recompute) {
      EXPECT_EQ(event.reason, "the host pool is full");
    }
  }
}

TEST(Engine, AdmitsNothingWhileAGroupIsSwapped) {
  HashDevice device(12, 12, 2);
  const auto result =
      run(device, {parallel(request(0, 3, 8), 2), parallel(request(1, 3, 8), 2), request(2, 2, 2, 0.05)});
  ASSERT_GE(result.record.count(DecisionKind::preempt_swap), 1);
  std::int64_t swapped = 0;
  for (const auto& event : result.record.events) {
    swapped += event.kind == DecisionKind::preempt_swap ? 1 : event.kind == DecisionKind::swap_in ? -1 : 0;
    EXPECT_FALSE(event.kind == DecisionKind::admit && swapped > 0) << "step " << event.step;
  }
}

TEST(Engine, SharesThePromptOfParallelSamplesAndCopiesItsLastBlockOnWrite) {
  HashDevice device(64, 0, 4);
  const auto result = run(device, {parallel(request(0, 6, 3), 3)});
  const StepRecord& first_decode = result.record.steps[1];
  EXPECT_EQ(first_decode.blocks_copied, Blocks(2));  // three writers of one block: the last keeps it
  EXPECT_EQ(first_decode.blocks_logical, Blocks(6));
  EXPECT_EQ(first_decode.blocks_physical, Blocks(4));
  EXPECT_EQ(result.record.outputs.at(0).size(), 3u);
}

TEST(Engine, WithoutSharingEverySequenceHasItsOwnBlocks) {
  HashDevice device(64, 0, 4);
  const auto result = run(device, {parallel(request(0, 6, 3), 3)}, {.sharing = "none"});
  EXPECT_EQ(result.record.steps[1].blocks_physical, Blocks(6));
  EXPECT_EQ(result.record.steps[1].blocks_logical, Blocks(6));
  EXPECT_EQ(result.record.steps[1].slots.token, Tokens(21));
}

TEST(Engine, ARecomputedGroupComesBackWithTheSharingItHad) {
  // Two groups of three samples over a prompt of four blocks: without sharing, one alone would need 3 * 7
  // blocks.
  HashDevice device(18, 0, 2);
  const auto result = run(device, {parallel(request(0, 8, 6), 3), parallel(request(1, 8, 6), 3)},
                          {.preemption = "recompute"});
  EXPECT_GE(result.record.count(DecisionKind::preempt_recompute), 1);
  EXPECT_THAT(result.record.finished, ElementsAre(0, 1));
}

TEST(Engine, AGroupIsRestoredInChunksAndStillShares) {
  const std::vector<Request> requests{parallel(request(0, 8, 20), 3), parallel(request(1, 8, 20), 3)};
  HashDevice roomy(100, 0, 2);
  const auto calm = run(roomy, requests);
  HashDevice device(36, 0, 2);
  const auto tight = run(device, requests,
                         {.batching = "chunked",
                          .preemption = "recompute",
                          .parameters = {{"batching.max_tokens", std::int64_t{7}}}});
  EXPECT_GE(tight.record.count(DecisionKind::preempt_recompute), 1);
  for (const std::int32_t id : {0, 1}) {
    for (std::size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(tight.record.outputs.at(id)[i].output, calm.record.outputs.at(id)[i].output);
    }
  }
}

TEST(Engine, RefusesByNameWhatCanNeverFit) {
  HashDevice device(4, 0, 4);
  const auto result = run(device, {request(0, 13, 5), request(1, 4, 4), request(2, 4000, 200)});
  EXPECT_THAT(result.record.refused.at(0), HasSubstr("need 5 blocks of 4 slots, the device has 4"));
  EXPECT_THAT(result.record.refused.at(2), HasSubstr("need 4199 positions, the model has 4096"));
  EXPECT_THAT(result.record.finished, ElementsAre(1));
}

TEST(Engine, RefusesBeamsThatTheVocabularyCannotFeed) {
  HashDevice device(64, 0, 4, /*vocab=*/5);
  const auto result = run(device, {beams(request(0, 3, 4), 3), beams(request(1, 3, 4), 2)});
  EXPECT_THAT(result.record.refused.at(0), HasSubstr("width 3 needs 6 candidates, the vocabulary has 5"));
  EXPECT_THAT(result.record.finished, ElementsAre(1));
}

TEST(Engine, ARequestMayUseTheWholePool) {
  HashDevice device(4, 0, 4);
  const auto result = run(device, {request(0, 10, 7)});  // 16 slots
  EXPECT_THAT(result.record.finished, ElementsAre(0));
}

TEST(Engine, StopsASequenceAtEosUnlessItsLengthIsForced) {
  HashDevice device(64, 0, 4, /*vocab=*/5);
  Request open = request(0, 3, 50);
  open.forced_output = false;
  open.sampling.eos = 2;
  const auto stopped = run(device, {open});
  const auto& output = stopped.record.outputs.at(0)[0].output;
  EXPECT_LT(output.size(), 50u);
  EXPECT_EQ(output.back(), 2);
  open.forced_output = true;
  EXPECT_EQ(run(device, {open}).record.outputs.at(0)[0].output.size(), 50u);
}

TEST(Engine, BeamsForkAndFreeAndEndWithTheBestHypotheses) {
  HashDevice device(64, 0, 4);
  const auto result = run(device, {beams(request(0, 6, 9), 4)});
  const auto& done = result.record.outputs.at(0);
  ASSERT_EQ(done.size(), 4u);
  for (std::size_t i = 0; i < done.size(); ++i) {
    EXPECT_EQ(done[i].output.size(), 9u);
    double sum = 0;
    for (const float logprob : done[i].logprobs) {
      sum += static_cast<double>(logprob);
    }
    EXPECT_NEAR(done[i].score, sum / 9, 1e-9);
    EXPECT_TRUE(i == 0 || done[i - 1].score >= done[i].score);
  }
  EXPECT_GT(result.record.count(DecisionKind::fork), 3);
}

/// Passes steps on, and keeps what they say of requests and of beams that split.
class Watched final : public Device {
 public:
  explicit Watched(Device& inside) : inside_(inside) {}
  DeviceCapacity capacity() const override { return inside_.capacity(); }
  void execute(const StepBatch& batch, StepResult& result) override {
    requests.push_back(batch.requests);
    greedy.push_back(batch.greedy);
    forked.push_back(batch.forked);
    inside_.execute(batch, result);
  }
  std::vector<std::int32_t> requests, greedy;
  std::vector<Tokens> forked;

 private:
  Device& inside_;
};

TEST(Engine, TellsTheDeviceHowRequestsAreDecodedAndWhatSplitOff) {
  HashDevice inside(64, 0, 4);
  Watched device(inside);
  const auto result = run(device, {request(0, 5, 2), beams(request(1, 6, 3), 3), parallel(request(2, 4, 2), 2)});
  EXPECT_THAT(device.requests, ElementsAre(3, 3, 1));
  EXPECT_THAT(device.greedy, ElementsAre(1, 1, 0));
  EXPECT_EQ(device.forked[0], Tokens(0));
  EXPECT_EQ(device.forked[1], Tokens(2 * 6));  // two beams beside the first one, of the prompt alone
  EXPECT_EQ(device.forked[2].value() % (6 + 1), 0);  // each with a token
  EXPECT_EQ(result.record.count(DecisionKind::fork), 2 + device.forked[2].value() / (6 + 1) + 1);
}

// --- Policies that break their contract end the run with an error that names them.

class BrokenScheduling final : public SchedulingPolicy {
  double key(const GroupView&, Seconds) override { return std::nan(""); }
};
class GreedyGrant final : public BatchingPolicy {
  Tokens grant(const BatchCandidate& candidate, const StepSoFar&) override {
    return candidate.pending + Tokens(1);
  }
};
class NothingGranted final : public BatchingPolicy {
  Tokens grant(const BatchCandidate&, const StepSoFar&) override { return Tokens(0); }
};
class Throwing final : public BatchingPolicy {
  Tokens grant(const BatchCandidate&, const StepSoFar&) override { throw std::runtime_error("out of ideas"); }
};
class UnknownVictim final : public PreemptionPolicy {
  Victim choose(std::span<const GroupView> candidates) override {
    return {candidates.size(), PreemptionMode::swap, ""};
  }
};

class Stingy final : public AllocationPolicy {
  Tokens reserve(const GroupView&, Tokens known) override { return known - Tokens(1); }
  Blocks append_headroom(const GroupView&, Blocks exact) override { return exact; }
  Blocks watermark(Blocks) override { return Blocks(0); }
};

std::string error_of(PolicySet set) {
  HashDevice device(4, 4, 2);
  VirtualClock clock;
  testing::ListWorkload workload({request(0, 2, 5), request(1, 2, 5)});
  testing::KeepingRecorder recorder;
  Engine engine(device, clock, workload, std::move(set), recorder);
  try {
    while (engine.step()) {
    }
  } catch (const PolicyError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Engine, NamesThePolicyThatBreaksItsContract) {
  PolicySet set = testing::policies();
  set.scheduling = {"broken", std::make_unique<BrokenScheduling>()};
  EXPECT_THAT(error_of(std::move(set)),
              HasSubstr("scheduling/broken, step 0: the key of request 0 is not a number"));
  set = testing::policies();
  set.batching = {"greedy", std::make_unique<GreedyGrant>()};
  EXPECT_THAT(error_of(std::move(set)),
              HasSubstr("batching/greedy, step 0: it granted request 0 3 tokens of 2 pending"));
  set = testing::policies();
  set.batching = {"idle", std::make_unique<NothingGranted>()};
  EXPECT_THAT(error_of(std::move(set)), HasSubstr("none got a token"));
  set = testing::policies();
  set.batching = {"throws", std::make_unique<Throwing>()};
  EXPECT_THAT(error_of(std::move(set)), HasSubstr("it threw 'out of ideas'"));
  set = testing::policies();
  set.allocation = {"stingy", std::make_unique<Stingy>()};
  EXPECT_THAT(error_of(std::move(set)),
              HasSubstr("allocation/stingy, step 0: it reserves 1 slots for 2 known tokens of request 0"));
  set = testing::policies();
  set.preemption = {"lost", std::make_unique<UnknownVictim>()};
  EXPECT_THAT(error_of(std::move(set)), HasSubstr("preemption/lost"));
}

}  // namespace
}  // namespace pagelab
