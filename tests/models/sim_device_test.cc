#include "models/sim_device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <vector>

#include "tests/models/plain_device.h"
#include "tests/support/builders.h"

namespace pagelab {
namespace {

using test::batch_of;
using test::free_device;
using test::tiny_shape;

DeviceDescription timed_device() {
  DeviceDescription device = free_device();
  device.step = {.fixed_s = 0.01, .token_s = 0.001};
  return device;
}

SimDevice tiny_device(std::int64_t device_blocks = 64, std::int64_t host_blocks = 64) {
  return {
      timed_device(), tiny_shape(), {.block_size = Tokens(4)}, {Blocks(device_blocks), Blocks(host_blocks)}};
}

SampleRow beam_row(std::int32_t count, std::uint64_t seed, std::uint32_t stream, std::uint32_t position) {
  return {.kind = SampleRow::Kind::top, .count = count, .seed = seed, .stream = stream, .position = position};
}

TEST(SimDevice, HasTheCapacityOfItsModelAndPools) {
  const DeviceCapacity capacity = tiny_device(7, 5).capacity();
  EXPECT_EQ(capacity.device_blocks, Blocks(7));
  EXPECT_EQ(capacity.host_blocks, Blocks(5));
  EXPECT_EQ(capacity.block_size, Tokens(4));
  EXPECT_EQ(capacity.block_bytes, Bytes(4 * 2 * 32));
  EXPECT_EQ(capacity.max_positions, Tokens(2048));
  EXPECT_EQ(capacity.vocabulary, 100);
}

TEST(SimDevice, CountsTheBytesOfABlockOnAllDevices) {
  const SimDevice two(free_device(), tiny_shape(), {.gpus = 2, .block_size = Tokens(4)},
                      {Blocks(7), Blocks(5)});
  EXPECT_EQ(two.capacity().block_bytes, Bytes(4 * 2 * 32));
  EXPECT_EQ(two.capacity().row_bytes, Bytes(8)) << "K of a token in one layer on one of them";
}

TEST(SimDevice, TellsWhatPreemptingCosts) {
  const SimDevice device = tiny_device();
  const PreemptionCosts* costs = device.preemption_costs();
  ASSERT_NE(costs, nullptr);
  EXPECT_DOUBLE_EQ(costs->recompute(Tokens(7)).value().value(), 0.007);
  DeviceDescription slow = free_device();
  slow.swap_out.copy_s = 1;
  slow.swap_in.copy_s = 2;
  const SimDevice swapping(slow, tiny_shape(), {}, {Blocks(4), Blocks(4)});
  EXPECT_DOUBLE_EQ(swapping.preemption_costs()->swap_out(Blocks(3)).value().value(), 3 * 2 * 2);
  EXPECT_DOUBLE_EQ(swapping.preemption_costs()->swap_in(Blocks(3)).value().value(), 2 * 3 * 2 * 2);
}

TEST(SimDevice, TakesTheTimeOfItsCostModelAndRemembersWhatItWasSpentOn) {
  SimDevice device = tiny_device();
  StepResult result;
  device.execute(batch_of({.chunks = {{0, 3}}, .rows = 1}), result);
  EXPECT_DOUBLE_EQ(result.duration.value(), 0.013);
  device.execute(batch_of({.chunks = {{3, 1}}, .rows = 1}), result);
  EXPECT_DOUBLE_EQ(result.duration.value(), 0.011);
  EXPECT_DOUBLE_EQ(device.spent()[StepCostKind::step], 0.024);
  EXPECT_DOUBLE_EQ(device.spent().total().value(), 0.024);
}

/// Modelled attention of a sequence's chunks, added up by position; of two layers of one head.
std::vector<double> attention_of(const std::vector<std::int32_t>& chunk_sizes) {
  ModelledAttention model(2);
  std::vector<double> sums;
  std::vector<std::int32_t> positions;
  std::int32_t first = 0;
  for (const std::int32_t count : chunk_sizes) {
    for (std::int32_t i = 0; i < count; ++i) {
      positions.push_back(first + i);
    }
    StepBatch batch;
    batch.chunks = {{.blocks = {}, .first = first, .count = count}};
    batch.weighed = {{.chunk = 0, .seed = 5, .positions = positions}};
    std::vector<double> weights;
    model.weigh(batch, weights);
    sums.resize(weights.size());
    for (std::size_t i = 0; i < weights.size(); ++i) {
      sums[i] += weights[i];
    }
    first += count;
  }
  return sums;
}

TEST(ModelledAttention, GivesEachQueryOnePerHeadHoweverASequenceIsCut) {
  const std::vector<double> whole = attention_of({100});
  double sum = 0;
  for (const double weight : whole) {
    EXPECT_GT(weight, 0);
    sum += weight;
  }
  EXPECT_NEAR(sum, 2 * 100, 1e-3);
  EXPECT_EQ(attention_of({1, 40, 59}), whole);
  EXPECT_EQ(attention_of(std::vector<std::int32_t>(100, 1)), whole);
}

TEST(ModelledAttention, BelongsToThePositionWhateverTheSlot) {
  ModelledAttention model(2);
  const std::vector<std::int32_t> in_order{0, 1, 2, 3};
  const std::vector<std::int32_t> out_of_order{2, 3, 0, 1};
  StepBatch batch;
  batch.chunks = {{.blocks = {}, .first = 3, .count = 1}, {.blocks = {}, .first = 3, .count = 1, .hole = 1}};
  batch.weighed = {{.chunk = 0, .seed = 5, .positions = in_order},
                   {.chunk = 1, .seed = 5, .positions = out_of_order}};
  std::vector<double> weights;
  model.weigh(batch, weights);
  ASSERT_EQ(weights.size(), 8u);
  for (std::size_t slot = 0; slot < 4; ++slot) {
    EXPECT_EQ(weights[4 + slot], weights[static_cast<std::size_t>(out_of_order[slot])]);
  }
}

TEST(SimDevice, FillsEveryCandidateWithAValidToken) {
  SimDevice device = tiny_device();
  StepBatch batch = batch_of({.chunks = {{0, 3}, {0, 3}}});
  batch.samples = {{.kind = SampleRow::Kind::random, .count = 3}, beam_row(4, 1, 0, 0), {}};
  batch.candidates = 8;
  StepResult result;
  result.candidates.assign(8, {-1, 9.0f});
  device.execute(batch, result);
  ASSERT_EQ(result.candidates.size(), 8u);
  for (const std::size_t drawn : {0u, 1u, 2u, 7u}) {
    EXPECT_EQ(result.candidates[drawn].token, 0);
    EXPECT_EQ(result.candidates[drawn].logprob, 0.0f);
  }
  for (std::size_t i = 3; i < 7; ++i) {
    EXPECT_EQ(result.candidates[i].token, static_cast<TokenId>(i - 3));
    EXPECT_LT(result.candidates[i].logprob, 0.0f);
  }
}

TEST(BeamProcess, IsAsUncertainAsTheLanguageModelThatItStandsFor) {
  EXPECT_NEAR(BeamProcess(50272).mean_entropy(), std::log(10.13), 0.03);
}

TEST(BeamProcess, GivesPartOfADistributionLikeliestFirst) {
  constexpr std::int32_t vocabulary = 500;
  const BeamProcess process(vocabulary);
  std::vector<TokenCandidate> all(vocabulary);
  for (std::uint32_t position = 0; position < 200; ++position) {
    process.draw(beam_row(vocabulary, 3, 1, position), all);
    double sum = 0;
    std::set<TokenId> tokens;
    for (std::size_t i = 0; i < all.size(); ++i) {
      sum += std::exp(static_cast<double>(all[i].logprob));
      tokens.insert(all[i].token);
      EXPECT_TRUE(i == 0 || all[i].logprob <= all[i - 1].logprob);
    }
    EXPECT_NEAR(sum, 1, 1e-3);
    EXPECT_EQ(tokens.size(), all.size());
    EXPECT_EQ(*tokens.rbegin(), vocabulary - 1);
  }
}

TEST(BeamProcess, AddressesADrawBySeedBeamAndPosition) {
  const BeamProcess process(50272);
  const auto best = [&](std::uint64_t seed, std::uint32_t stream, std::uint32_t position) {
    TokenCandidate candidate;
    process.draw(beam_row(1, seed, stream, position), {&candidate, 1});
    return candidate.logprob;
  };
  EXPECT_EQ(best(1, 2, 3), best(1, 2, 3));
  EXPECT_NE(best(1, 2, 3), best(2, 2, 3));
  EXPECT_NE(best(1, 2, 3), best(1, 1, 3));
  EXPECT_NE(best(1, 2, 3), best(1, 2, 4));
}

TEST(BeamProcess, HasPlacesWhereItIsSureAndPlacesWhereManyTokensMayFollow) {
  const BeamProcess process(50272);
  int sure = 0;
  int open = 0;
  for (std::uint32_t position = 0; position < 1000; ++position) {
    TokenCandidate candidate;
    process.draw(beam_row(1, 1, 0, position), {&candidate, 1});
    sure += candidate.logprob > std::log(0.9f) ? 1 : 0;
    open += candidate.logprob < std::log(0.2f) ? 1 : 0;
  }
  EXPECT_GT(sure, 100);
  EXPECT_GT(open, 50);
}

std::vector<Request> beam_requests() {
  std::vector<Request> requests;
  for (int i = 0; i < 6; ++i) {
    requests.push_back(testing::beams(testing::request(i, 5 + i, 30), 3));
  }
  return requests;
}

TEST(SimDevice, BeamsSplitAndDie) {
  SimDevice device = tiny_device(200);
  const testing::Run run = testing::run(device, beam_requests());
  EXPECT_GT(run.record.count(DecisionKind::fork),
            6 * 2);  // more than the beams that each request starts with
  EXPECT_GT(run.record.count(DecisionKind::finish), 6 * 3);
  ASSERT_EQ(run.record.outputs.size(), 6u);
  for (const auto& [id, done] : run.record.outputs) {
    EXPECT_EQ(done.size(), 3u);
  }
}

TEST(SimDevice, BeamsOfARequestDoNotDependOnOthersNorOnPreemption) {
  SimDevice roomy = tiny_device(400);
  const testing::Run together = testing::run(roomy, beam_requests());
  SimDevice tight = tiny_device(60, 400);
  const testing::Run preempted = testing::run(tight, beam_requests());
  EXPECT_GT(preempted.record.count(DecisionKind::preempt_swap), 0);
  for (const auto& [id, done] : together.record.outputs) {
    for (std::size_t i = 0; i < done.size(); ++i) {
      EXPECT_EQ(done[i].output, preempted.record.outputs.at(id)[i].output);
      EXPECT_EQ(done[i].logprobs, preempted.record.outputs.at(id)[i].logprobs);
    }
  }
}

}  // namespace
}  // namespace pagelab
