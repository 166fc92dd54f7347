// Retention on the real CPU kernels: log-probabilities, and the attention that each token received, are those
// of a reference in double whose attention is masked to the tokens that the policy keeps; and they do not
// depend on the batch, the block size or preemption.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "kernels/cpu/cpu_ops.h"
#include "models/model.h"
#include "models/model_device.h"
#include "models/timed_device.h"
#include "tests/models/masked_reference.h"
#include "tests/support/builders.h"
#include "tests/support/kept_tokens.h"
#include "tests/support/source_dir.h"

namespace pagelab {
namespace {

using testing::KeptToken;
using testing::PolicyNames;
using testing::with_retention;

std::string golden_folder(const std::string& name) {
  return (test::source_dir() / "tests" / "golden" / name).string();
}

std::unique_ptr<Device> device_of(const std::string& name, const KvOptions& kv, int threads = 2) {
  auto ops = std::make_unique<kernels::cpu::CpuOps>(
      kernels::cpu::CpuOptions{.threads = threads, .weight_dtype = kernels::DType::f32});
  auto model = load_model(golden_folder(name), 0, *ops);
  return std::make_unique<TimedDevice>(std::make_unique<ModelDevice>(std::move(ops), std::move(model), kv),
                                       StepCost{.step_s = 0.01, .prefill_token_s = 0.001});
}

/// The golden prompt of a checkpoint and `output` greedy tokens.
Request golden_request(const std::string& name, std::int64_t output) {
  Request request = testing::request(0, 1, output);
  request.prompt = nlohmann::json::parse(std::ifstream(golden_folder(name) + ".json"))["prompt"]
                       .get<std::vector<TokenId>>();
  return request;
}

/// What a sequence held when its policy was asked.
using Seen = std::vector<KeptToken>;

/// Asks another policy, and keeps what it was shown.
class Watched final : public RetentionPolicy {
 public:
  Watched(std::unique_ptr<RetentionPolicy> inside, std::vector<Seen>& seen)
      : inside_(std::move(inside)), seen_(seen) {}
  bool wants_weights() const override { return true; }
  Tokens budget(const GroupView& group) override { return inside_->budget(group); }
  void choose(const SlotsView& slots, Tokens least, std::vector<std::int32_t>& drop) override {
    Seen& seen = seen_.emplace_back();
    for (std::size_t slot = 0; slot < slots.positions().size(); ++slot) {
      seen.push_back({slots.positions()[slot], slots.weights()[slot]});
    }
    std::ranges::sort(seen, {}, &KeptToken::position);
    inside_->choose(slots, least, drop);
  }

 private:
  std::unique_ptr<RetentionPolicy> inside_;
  std::vector<Seen>& seen_;
};

FinishedSequence serve_watched(const std::string& name, Request request, const PolicyNames& names,
                               std::vector<Seen>& seen) {
  const auto device = device_of(name, {.block_size = 7, .device_blocks = 64});
  VirtualClock clock;
  testing::ListWorkload workload({std::move(request)});
  PolicySet set = testing::policies(names);
  set.retention.policy = std::make_unique<Watched>(std::move(set.retention.policy), seen);
  testing::KeepingRecorder recorder;
  Engine engine(*device, clock, workload, std::move(set), recorder);
  while (engine.step()) {
    engine.check_integrity();
  }
  return recorder.outputs.at(0).at(0);
}

double logprob(const std::vector<double>& logits, TokenId token) {
  const double most = *std::ranges::max_element(logits);
  double sum = 0;
  for (const double logit : logits) {
    sum += std::exp(logit - most);
  }
  return logits[static_cast<std::size_t>(token)] - most - std::log(sum);
}

struct Case {
  const char* model;
  const char* policy;
  std::int64_t budget;
};

class MaskedAttention : public ::testing::TestWithParam<Case> {};

TEST_P(MaskedAttention, IsWhatARetentionPolicyLeaves) {
  const auto& [model, policy, budget] = GetParam();
  PolicyNames names = with_retention(policy, budget);
  names.batching = "chunked";
  names.parameters["batching.max_tokens"] = std::int64_t{5};
  const Request request = golden_request(model, 50);
  std::vector<Seen> seen;
  const FinishedSequence served = serve_watched(model, request, names, seen);

  test::MaskedReference reference(golden_folder(model));
  std::vector<TokenId> tokens = request.prompt;
  std::vector<KeptToken> kept;
  std::size_t asked = 0;
  for (std::size_t position = 0; position + 1 < request.prompt.size() + served.output.size(); ++position) {
    kept.push_back({static_cast<std::int32_t>(position)});
    std::vector<std::int32_t> positions;
    std::vector<double> weights;
    for (const KeptToken& token : kept) {
      positions.push_back(token.position);
      weights.push_back(token.weight);
    }
    const std::vector<double> logits = reference.next(tokens[position], positions, weights);
    for (std::size_t i = 0; i < kept.size(); ++i) {
      kept[i].weight = weights[i];
    }
    if (position + 1 < request.prompt.size()) {
      continue;
    }
    const std::size_t drawn = position + 1 - request.prompt.size();
    EXPECT_NEAR(served.logprobs[drawn], logprob(logits, served.output[drawn]), 2e-4) << "token " << drawn;
    EXPECT_NEAR(*std::ranges::max_element(logits), logits[static_cast<std::size_t>(served.output[drawn])],
                2e-4);
    tokens.push_back(served.output[drawn]);
    if (static_cast<std::int64_t>(kept.size()) >= budget && drawn + 1 < served.output.size()) {
      ASSERT_LT(asked, seen.size());
      ASSERT_EQ(seen[asked].size(), kept.size());
      for (std::size_t i = 0; i < kept.size(); ++i) {
        EXPECT_EQ(seen[asked][i].position, kept[i].position);
        EXPECT_NEAR(seen[asked][i].weight, kept[i].weight, 1e-3) << "position " << kept[i].position;
      }
      ++asked;
    }
    testing::drop_over_budget(names, kept);
  }
  EXPECT_EQ(asked, seen.size());
  EXPECT_GT(asked, 10u);
}

constexpr Case kCases[] = {
    {"llama-gqa", "window", 16}, {"llama-gqa", "sinks", 16}, {"llama-gqa", "heavy_hitters", 16},
    {"llama-gqa", "window", 32}, {"opt", "window", 16},      {"opt", "heavy_hitters", 32},
};

INSTANTIATE_TEST_SUITE_P(Checkpoints, MaskedAttention, ::testing::ValuesIn(kCases), [](const auto& test) {
  std::string name = std::string(test.param.model) + "_" + test.param.policy;
  std::replace(name.begin(), name.end(), '-', '_');
  return name + "_" + std::to_string(test.param.budget);
});

TEST(RetentionServing, ABudgetThatIsNeverReachedChangesNoBit) {
  const auto device = device_of("llama", {.block_size = 16, .device_blocks = 64});
  const Request request = golden_request("llama", 40);
  const auto all = testing::run(*device, {request}).record.outputs.at(0);
  for (const std::string policy : {"window", "sinks", "heavy_hitters"}) {
    const auto kept = testing::run(*device, {request}, with_retention(policy, 61)).record.outputs.at(0);
    EXPECT_EQ(kept.at(0).output, all.at(0).output) << policy;
    EXPECT_EQ(kept.at(0).logprobs, all.at(0).logprobs) << policy;
  }
}

TEST(RetentionServing, TokensAreTheSameAloneAndInACrowdAtAnyBlockSizeUnderPreemption) {
  std::vector<Request> requests;
  for (std::int32_t id = 0; id < 6; ++id) {
    requests.push_back(testing::request(id, 3 + 9 * id, 40));
    for (TokenId& token : requests.back().prompt) {
      token %= 192;
    }
  }
  for (const std::string policy : {"window", "heavy_hitters"}) {
    std::vector<FinishedSequence> alone;
    for (Request request : requests) {
      request.id = RequestId(0);
      const auto device = device_of("llama-gqa", {.block_size = 16, .device_blocks = 64}, 1);
      alone.push_back(
          testing::run(*device, {request}, with_retention(policy, 24)).record.outputs.at(0).at(0));
    }
    for (const std::int32_t block_size : {1, 7, 16}) {
      for (const std::string preemption : {"recompute", "swap"}) {
        PolicyNames names = with_retention(policy, 24);
        names.preemption = preemption;
        const std::int32_t blocks = 60 / block_size + 1;
        const auto device = device_of(
            "llama-gqa", {.block_size = block_size, .device_blocks = blocks, .host_blocks = 2 * blocks});
        const testing::Run run = testing::run(*device, requests, names);
        EXPECT_GT(run.progress.preemptions, 0) << block_size << " " << preemption;
        for (std::size_t i = 0; i < requests.size(); ++i) {
          const FinishedSequence& done = run.record.outputs.at(static_cast<std::int32_t>(i)).at(0);
          EXPECT_EQ(done.output, alone[i].output)
              << policy << ", blocks of " << block_size << ", " << preemption;
          EXPECT_EQ(done.logprobs, alone[i].logprobs);
        }
      }
    }
  }
}

}  // namespace
}  // namespace pagelab
