// Whole runs through the engine against Hugging Face transformers: greedy tokens, beam search with and
// without an end-of-sequence token. The golden files are those of golden_test.cc.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "kernels/cpu/cpu_ops.h"
#include "models/model.h"
#include "models/model_device.h"
#include "tests/support/builders.h"
#include "tests/support/source_dir.h"

namespace pagelab {
namespace {

using nlohmann::json;

class GoldenServing : public ::testing::TestWithParam<std::string> {
 protected:
  GoldenServing() {
    const std::string path = (test::source_dir() / "tests/golden" / GetParam()).string();
    golden_ = json::parse(std::ifstream(path + ".json"));
    auto ops = std::make_unique<kernels::cpu::CpuOps>(
        kernels::cpu::CpuOptions{.threads = 2, .weight_dtype = kernels::DType::f32});
    auto model = load_model(path, 0, *ops);
    device_ = std::make_unique<ModelDevice>(std::move(ops), std::move(model),
                                            KvOptions{.block_size = 7, .device_blocks = 128});
  }

  std::vector<FinishedSequence> serve(Request request) {
    request.prompt = golden_["prompt"].get<std::vector<TokenId>>();
    return testing::run(*device_, {std::move(request)}).record.outputs.at(0);
  }

  json golden_;
  std::unique_ptr<ModelDevice> device_;
};

TEST_P(GoldenServing, GreedyTokensAreThoseOfTransformers) {
  const auto expected = golden_["greedy"]["tokens"].get<std::vector<TokenId>>();
  const auto done = serve(testing::request(0, 1, static_cast<std::int64_t>(expected.size())));
  EXPECT_EQ(done.at(0).output, expected);
}

TEST_P(GoldenServing, BeamSearchGivesTheSequencesAndScoresOfTransformers) {
  ASSERT_FALSE(golden_["beam"].empty());
  for (const json& beam : golden_["beam"]) {
    Request request = testing::beams(testing::request(0, 1, beam["max_new_tokens"]), beam["width"]);
    request.sampling.length_penalty = beam["length_penalty"];
    if (!beam["eos"].is_null()) {
      request.forced_output = false;
      request.sampling.eos = beam["eos"].get<TokenId>();
    }
    const auto done = serve(request);
    ASSERT_EQ(done.size(), beam["sequences"].size());
    for (std::size_t i = 0; i < done.size(); ++i) {
      EXPECT_EQ(done[i].output, beam["sequences"][i]["tokens"].get<std::vector<TokenId>>())
          << "hypothesis " << i;
      EXPECT_NEAR(done[i].score, beam["sequences"][i]["score"].get<double>(), 1e-4) << "hypothesis " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, GoldenServing,
                         ::testing::Values("opt", "opt-post-norm", "gpt2", "llama", "llama-gqa"),
                         [](const auto& model) {
                           std::string name = model.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace pagelab
