// The forward passes against Hugging Face transformers: tests/golden, made by scripts/make_golden.py.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "kernels/cpu/cpu_ops.h"
#include "models/model.h"
#include "models/model_device.h"
#include "tests/models/paged_batch.h"
#include "tests/support/source_dir.h"

namespace pagelab {
namespace {

using kernels::DType;
using nlohmann::json;

constexpr std::int32_t kBlocks = 128;

std::string golden_path(const std::string& name) {
  return (test::source_dir() / "tests/golden" / name).string();
}

json read_golden(const std::string& name) {
  std::ifstream file(golden_path(name + ".json"));
  return json::parse(file);
}

/// A checkpoint on the CPU with a KV cache, fed one sequence.
class Runner {
 public:
  Runner(const std::string& name, DType weights, DType kv, std::int32_t block_size)
      : ops_({.threads = 2, .weight_dtype = weights}),
        model_(load_model(golden_path(name), 0, ops_)),
        block_size_(block_size),
        blocks_(kBlocks) {
    ops_.allocate_kv(kv_shape(model_->shape(), {block_size, kv, kBlocks, 1}));
  }

  /// The logits of all of `tokens`, fed in chunks of at most `chunk`.
  std::vector<std::vector<float>> feed(const std::vector<TokenId>& tokens, std::size_t chunk) {
    std::vector<std::vector<float>> rows;
    for (std::size_t begin = 0; begin < tokens.size(); begin += chunk) {
      const std::size_t count = std::min(chunk, tokens.size() - begin);
      test::BatchBuilder builder(block_size_, blocks_);
      builder.add(sequence_, std::span(tokens).subspan(begin, count));
      std::vector<std::int32_t> wanted(count);
      for (std::size_t i = 0; i < count; ++i) {
        wanted[i] = static_cast<std::int32_t>(i);
      }
      ops_.begin_step();
      const kernels::Tensor logits =
          model_->forward(ops_, builder.batch().tokens, builder.attention(), wanted);
      for (std::int32_t i = 0; i < logits.rows; ++i) {
        rows.emplace_back(logits.row(i), logits.row(i) + logits.cols);
      }
    }
    return rows;
  }

 private:
  kernels::cpu::CpuOps ops_;
  std::unique_ptr<Model> model_;
  std::int32_t block_size_;
  test::BlockSource blocks_;
  test::TestSequence sequence_;
};

/// The largest distance from the golden logits of the prompt, in units of the largest golden logit.
double worst_error(const json& golden, const std::vector<std::vector<float>>& logits) {
  const json& expected = golden["logits"];
  double worst = 0;
  for (std::size_t position = 0; position < logits.size(); ++position) {
    for (std::size_t i = 0; i < expected["ids"].size(); ++i) {
      const auto id = expected["ids"][i].get<std::size_t>();
      worst = std::max(worst, std::abs(logits[position][id] - expected["values"][position][i].get<double>()));
    }
  }
  for (std::size_t id = 0; id < expected["last"].size(); ++id) {
    worst = std::max(worst, std::abs(logits.back()[id] - expected["last"][id].get<double>()));
  }
  return worst / expected["max_abs"].get<double>();
}

double logprob(const std::vector<float>& logits, TokenId token) {
  const double most = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) {
    sum += std::exp(logit - most);
  }
  return logits[static_cast<std::size_t>(token)] - most - std::log(sum);
}

struct Case {
  const char* name;
  std::int32_t block_size;
  std::size_t chunk;
};

class Golden : public ::testing::TestWithParam<Case> {};

TEST_P(Golden, LogitsOfThePromptAreThoseOfTransformers) {
  const auto& [name, block_size, chunk] = GetParam();
  const json golden = read_golden(name);
  const auto prompt = golden["prompt"].get<std::vector<TokenId>>();
  Runner runner(name, DType::f32, DType::f32, block_size);
  const auto logits = runner.feed(prompt, chunk);
  ASSERT_EQ(logits.size(), prompt.size());
  EXPECT_LT(worst_error(golden, logits), 1e-4);
}

TEST_P(Golden, GreedyTokensAreThoseOfTransformers) {
  const auto& [name, block_size, chunk] = GetParam();
  const json golden = read_golden(name);
  const auto expected = golden["greedy"]["tokens"].get<std::vector<TokenId>>();
  const auto logprobs = golden["greedy"]["logprobs"].get<std::vector<double>>();
  ASSERT_EQ(expected.size(), 64u);
  Runner runner(name, DType::f32, DType::f32, block_size);
  std::vector<float> logits = runner.feed(golden["prompt"].get<std::vector<TokenId>>(), chunk).back();
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const auto token = static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());
    ASSERT_EQ(token, expected[i]) << "token " << i;
    EXPECT_NEAR(logprob(logits, token), logprobs[i], 1e-3) << "token " << i;
    logits = runner.feed({token}, 1).back();
  }
}

TEST_P(Golden, Bf16IsNoFurtherFromF32ThanTransformersIsInBf16) {
  const auto& [name, block_size, chunk] = GetParam();
  const json golden = read_golden(name);
  Runner runner(name, DType::bf16, DType::bf16, block_size);
  const auto logits = runner.feed(golden["prompt"].get<std::vector<TokenId>>(), chunk);
  const json& expected = golden["logits"];
  EXPECT_LT(worst_error(golden, logits),
            expected["bf16_error"].get<double>() / expected["max_abs"].get<double>());
}

constexpr Case kCases[] = {
    {"opt", 16, 1000},       {"opt", 7, 5},       {"opt-post-norm", 16, 1000}, {"opt-post-norm", 7, 5},
    {"gpt2", 16, 1000},      {"gpt2", 7, 5},      {"llama", 16, 1000},         {"llama", 7, 5},
    {"llama-gqa", 16, 1000}, {"llama-gqa", 7, 5},
};

INSTANTIATE_TEST_SUITE_P(Checkpoints, Golden, ::testing::ValuesIn(kCases), [](const auto& test) {
  std::string name = test.param.name;
  std::replace(name.begin(), name.end(), '-', '_');
  return name + "_block" + std::to_string(test.param.block_size);
});

TEST(GoldenBf16, ACheckpointStoredInBf16LosesNothingInBf16) {
  const json golden = read_golden("llama-gqa");
  Runner runner("llama-gqa", DType::bf16, DType::f32, 16);
  EXPECT_LT(worst_error(golden, runner.feed(golden["prompt"].get<std::vector<TokenId>>(), 1000)), 1e-4);
}

}  // namespace
}  // namespace pagelab
