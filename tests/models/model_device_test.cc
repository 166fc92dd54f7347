#include "models/model_device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "core/error.h"
#include "kernels/cpu/cpu_ops.h"
#include "tests/models/paged_batch.h"

namespace pagelab {
namespace {

using Kind = SampleRow::Kind;
using ::testing::HasSubstr;

ModelShape small_llama() {
  ModelShape shape = *find_shape("tinyllama-1.1b");
  shape.name = "small";
  shape.layers = 2;
  shape.hidden = shape.embedding_size = 128;
  shape.heads = 2;
  shape.kv_heads = 1;
  shape.ffn = 160;
  shape.vocab = 300;
  shape.max_positions = 64;
  return shape;
}

std::unique_ptr<ModelDevice> make_device(std::int32_t block_size, int threads = 2) {
  auto ops = std::make_unique<kernels::cpu::CpuOps>(
      kernels::cpu::CpuOptions{.threads = threads, .weight_dtype = kernels::DType::f32});
  auto model = random_model(small_llama(), 7, *ops);
  return std::make_unique<ModelDevice>(std::move(ops), std::move(model),
                                       KvOptions{block_size, kernels::DType::f32, 96, 8});
}

std::vector<TokenId> prompt_of(std::int32_t index) {
  std::vector<TokenId> prompt;
  for (std::int32_t i = 0; i < 5 + 3 * index; ++i) {
    prompt.push_back((i * 37 + index * 11 + 5) % 300);
  }
  return prompt;
}

/// Runs `sequences` requests together for `steps` tokens; the tokens and log-probabilities of each.
std::vector<std::vector<TokenCandidate>> generate(ModelDevice& device, std::int32_t block_size,
                                                  const std::vector<std::int32_t>& requests, int steps) {
  test::BlockSource blocks(96);
  std::vector<test::TestSequence> sequences(requests.size());
  std::vector<std::vector<TokenCandidate>> out(requests.size());
  for (int step = 0; step < steps; ++step) {
    test::BatchBuilder builder(block_size, blocks);
    for (std::size_t i = 0; i < requests.size(); ++i) {
      const std::vector<TokenId> tokens =
          step == 0 ? prompt_of(requests[i]) : std::vector{out[i].back().token};
      const std::int32_t row = builder.add(sequences[i], tokens);
      builder.sample({.row = row,
                      .kind = Kind::random,
                      .temperature = 1.5f,
                      .top_k = 50,
                      .top_p = 0.95f,
                      .seed = 1000u + static_cast<std::uint64_t>(requests[i]),
                      .position = static_cast<std::uint32_t>(sequences[i].computed)});
    }
    StepResult result;
    device.execute(builder.batch(), result);
    for (std::size_t i = 0; i < requests.size(); ++i) {
      out[i].push_back(result.candidates[i]);
    }
  }
  return out;
}

bool same(const std::vector<TokenCandidate>& a, const std::vector<TokenCandidate>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const TokenCandidate& x, const TokenCandidate& y) {
                      return x.token == y.token && x.logprob == y.logprob;
                    });
}

TEST(ModelDevice, SamplesTheSameTokensAloneAndInABatch) {
  const auto crowd = generate(*make_device(16), 16, {0, 1, 2, 3, 4}, 12);
  for (const std::int32_t request : {0, 2, 4}) {
    const auto alone = generate(*make_device(16), 16, {request}, 12);
    EXPECT_TRUE(same(alone[0], crowd[static_cast<std::size_t>(request)])) << "request " << request;
  }
  std::set<TokenId> distinct;
  for (const TokenCandidate& candidate : crowd[4]) {
    distinct.insert(candidate.token);
  }
  EXPECT_GT(distinct.size(), 4u);
}

TEST(ModelDevice, SamplesTheSameTokensAtEveryBlockSizeAndNumberOfThreads) {
  const auto expected = generate(*make_device(16), 16, {0, 1, 2}, 10);
  for (const std::int32_t block_size : {3, 7, 64}) {
    const auto got = generate(*make_device(block_size, block_size == 7 ? 1 : 3), block_size, {0, 1, 2}, 10);
    for (std::size_t i = 0; i < got.size(); ++i) {
      EXPECT_TRUE(same(got[i], expected[i])) << "block size " << block_size << ", request " << i;
    }
  }
}

/// The candidates of one prompt under one sampling rule.
std::vector<TokenCandidate> sample_once(ModelDevice& device, SampleRow rule) {
  test::BlockSource blocks(96);
  test::TestSequence sequence;
  test::BatchBuilder builder(16, blocks);
  rule.row = builder.add(sequence, prompt_of(3));
  builder.sample(rule);
  StepResult result;
  device.execute(builder.batch(), result);
  return result.candidates;
}

TEST(ModelDevice, GivesCandidateJTheNumberOfStreamPlusJ) {
  const auto device = make_device(16);
  const SampleRow rule = {.kind = Kind::random, .count = 4, .seed = 5, .stream = 2, .position = 9};
  const auto together = sample_once(*device, rule);
  ASSERT_EQ(together.size(), 4u);
  std::set<TokenId> distinct;
  for (std::uint32_t j = 0; j < 4; ++j) {
    const auto one = sample_once(*device, {.kind = Kind::random, .seed = 5, .stream = 2 + j, .position = 9});
    EXPECT_EQ(one[0].token, together[j].token);
    distinct.insert(one[0].token);
  }
  EXPECT_GT(distinct.size(), 1u);
}

TEST(ModelDevice, RanksTheTopCandidatesAndAgreesWithGreedy) {
  const auto device = make_device(16);
  const auto top = sample_once(*device, {.kind = Kind::top, .count = 8});
  ASSERT_EQ(top.size(), 8u);
  EXPECT_TRUE(std::is_sorted(top.begin(), top.end(), [](const TokenCandidate& a, const TokenCandidate& b) {
    return a.logprob > b.logprob;
  }));
  const auto greedy = sample_once(*device, {.kind = Kind::greedy});
  EXPECT_EQ(greedy[0].token, top[0].token);
  EXPECT_EQ(greedy[0].logprob, top[0].logprob);
}

TEST(ModelDevice, MovesBlocksBeforeItRunsTheModel) {
  const auto device = make_device(16);
  const auto expected = generate(*device, 16, {3}, 2)[0];
  test::BlockSource blocks(96);
  test::TestSequence sequence;
  test::BatchBuilder prefill(16, blocks);
  prefill.sample({.row = prefill.add(sequence, prompt_of(3)),
                  .kind = Kind::random,
                  .temperature = 1.5f,
                  .top_k = 50,
                  .top_p = 0.95f,
                  .seed = 1003,
                  .position = 14});
  StepResult result;
  device->execute(prefill.batch(), result);
  EXPECT_EQ(result.candidates[0].token, expected[0].token);

  // Out to host block 5, back to block 40, from there copied to block 41, where the next step reads it: all
  // in one.
  const BlockId first = sequence.blocks[0];
  StepBatch out;
  out.swap_out = {{first, BlockId(5)}};
  device->execute(out, result);
  EXPECT_TRUE(result.candidates.empty());
  sequence.blocks[0] = BlockId(41);
  test::BatchBuilder decode(16, blocks);
  decode.sample({.row = decode.add(sequence, std::vector{expected[0].token}),
                 .kind = Kind::random,
                 .temperature = 1.5f,
                 .top_k = 50,
                 .top_p = 0.95f,
                 .seed = 1003,
                 .position = 15});
  decode.batch().swap_in = {{BlockId(5), BlockId(40)}};
  decode.batch().copies = {{BlockId(40), BlockId(41)}};
  device->execute(decode.batch(), result);
  EXPECT_EQ(result.candidates[0].token, expected[1].token);
  EXPECT_EQ(result.candidates[0].logprob, expected[1].logprob);
  EXPECT_GT(result.duration.value(), 0);
  EXPECT_GT(device->seconds_in(kernels::OpKind::linear), 0);
}

TEST(ModelDevice, NeedsNoLogitsForAChunkThatIsNotSampled) {
  const auto device = make_device(16);
  const auto whole = sample_once(*device, {.kind = Kind::greedy});
  const std::vector<TokenId> prompt = prompt_of(3);
  test::BlockSource blocks(96);
  test::TestSequence sequence;
  StepResult result;
  test::BatchBuilder first(16, blocks);
  first.add(sequence, std::span(prompt).first(9));
  device->execute(first.batch(), result);
  EXPECT_TRUE(result.candidates.empty());
  test::BatchBuilder second(16, blocks);
  second.sample({.row = second.add(sequence, std::span(prompt).subspan(9))});
  device->execute(second.batch(), result);
  EXPECT_EQ(result.candidates[0].token, whole[0].token);
  EXPECT_EQ(result.candidates[0].logprob, whole[0].logprob);
}

TEST(ModelDevice, ReportsItsCapacity) {
  const DeviceCapacity capacity = make_device(16)->capacity();
  EXPECT_EQ(capacity.device_blocks, Blocks(96));
  EXPECT_EQ(capacity.host_blocks, Blocks(8));
  EXPECT_EQ(capacity.block_size, Tokens(16));
  EXPECT_EQ(capacity.block_bytes, Bytes(2 * 2 * 64 * 16 * 4));
  EXPECT_EQ(capacity.max_positions, Tokens(64));
}

TEST(ModelDevice, RefusesTokensAndPositionsThatAreNotTheModels) {
  const auto device = make_device(16);
  StepResult result;
  const auto error_of = [&](const std::vector<TokenId>& tokens) -> std::string {
    test::BlockSource blocks(96);
    test::TestSequence sequence;
    test::BatchBuilder builder(16, blocks);
    builder.add(sequence, tokens);
    try {
      device->execute(builder.batch(), result);
    } catch (const InputError& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_THAT(error_of({1, 300}), HasSubstr("token id 300 is not in the vocabulary of small (0 to 299)"));
  EXPECT_THAT(error_of({-1}), HasSubstr("token id -1"));
  EXPECT_EQ(error_of(std::vector<TokenId>(64, 1)), "accepted");
  EXPECT_THAT(error_of(std::vector<TokenId>(65, 1)),
              HasSubstr("position 64 is beyond the 64 positions of small"));
}

TEST(MeasuredCosts, AverageStepsOfPromptsAndBlocksSwapped) {
  MeasuredCosts costs;
  EXPECT_FALSE(costs.recompute(Tokens(1)).has_value());
  EXPECT_FALSE(costs.swap_out(Blocks(1)).has_value());
  StepBatch prompts;
  prompts.chunks = {{.blocks = {}, .count = 19}, {.blocks = {}, .count = 1}};
  prompts.tokens.assign(20, 0);
  prompts.swap_out.resize(4);
  costs.add(prompts, 50, 10);
  StepBatch decodes;
  decodes.chunks = {{.blocks = {}, .count = 1}};
  decodes.tokens.assign(1, 0);
  costs.add(decodes, 1000, 0);
  EXPECT_DOUBLE_EQ(costs.recompute(Tokens(3)).value().value(), 3 * 2);
  EXPECT_DOUBLE_EQ(costs.swap_out(Blocks(2)).value().value(), 5);
  EXPECT_FALSE(costs.swap_in(Blocks(1)).has_value());
}

}  // namespace
}  // namespace pagelab
