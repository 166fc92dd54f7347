// What retention costs in quality, on real kernels: greedy continuations that are computed with all KV are
// forced upon runs with each policy and budget, and what these make of the same tokens is printed as a table.
//
//     build/release/tests/bench/retention_quality [MODEL_FOLDER [PROMPT OUTPUT]]
//
// Prompts are random token ids. Without a folder: the random checkpoint tests/golden/llama, which shows that
// the numbers move, not how good a policy is for a trained model.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "kernels/cpu/cpu_ops.h"
#include "models/model.h"
#include "models/model_device.h"
#include "tests/support/builders.h"
#include "tests/support/kept_tokens.h"

namespace pagelab {
namespace {

constexpr std::int32_t kPrompts = 16;

/// Draws the tokens that it is told, with the log-probability that the device inside gives them.
class ForcedDevice final : public Device {
 public:
  explicit ForcedDevice(Device& inside) : inside_(inside) {}

  DeviceCapacity capacity() const override { return inside_.capacity(); }
  void force(const std::vector<TokenId>& tokens) {
    tokens_ = &tokens;
    agreed = 0;
  }
  void execute(const StepBatch& batch, StepResult& result) override {
    StepBatch wide = batch;
    wide.candidates = 0;
    for (SampleRow& row : wide.samples) {
      row.kind = SampleRow::Kind::top;
      row.count = inside_.capacity().vocabulary;
      wide.candidates += row.count;
    }
    inside_.execute(wide, all_);
    result.slot_weights = all_.slot_weights;
    result.duration = Seconds(0.01);
    for (std::size_t row = 0; row < batch.samples.size(); ++row) {
      const auto first =
          all_.candidates.begin() + static_cast<std::ptrdiff_t>(row) * inside_.capacity().vocabulary;
      const TokenId forced = tokens_->at(batch.samples[row].position);
      agreed += first->token == forced ? 1 : 0;
      result.candidates[row] =
          *std::find_if(first, all_.candidates.end(), [&](const auto& c) { return c.token == forced; });
    }
  }

  std::int64_t agreed = 0;  ///< tokens that would have been drawn anyway

 private:
  Device& inside_;
  const std::vector<TokenId>* tokens_ = nullptr;
  StepResult all_;
};

struct Result {
  double logprob = 0;  ///< sums, over all prompts
  std::int64_t agreed = 0;
  std::int64_t tokens = 0;
  double slots = 0;  ///< in use, and ...
  double steps = 0;  ///< ... over so many decode steps
};

void print(const std::string& policy, std::int64_t budget, const Result& result, const Result& all) {
  const auto tokens = static_cast<double>(result.tokens);
  std::printf("| %s | %ld | %.0f %% | %.3f | %.1f %% |\n", policy.c_str(), static_cast<long>(budget),
              100 * result.slots / result.steps / (all.slots / all.steps), result.logprob / tokens,
              100 * static_cast<double>(result.agreed) / tokens);
}

class Measurement {
 public:
  Measurement(const std::string& folder, std::int64_t prompt, std::int64_t output)
      : prompt_(prompt), output_(output) {
    auto ops = std::make_unique<kernels::cpu::CpuOps>(
        kernels::cpu::CpuOptions{.threads = 2, .weight_dtype = kernels::DType::f32});
    auto model = load_model(folder, 0, *ops);
    const auto blocks = static_cast<std::int32_t>((prompt + output) / 16 + 2);
    device_ = std::make_unique<ModelDevice>(std::move(ops), std::move(model),
                                            KvOptions{.block_size = 16, .device_blocks = blocks});
    for (std::int32_t id = 0; id < kPrompts; ++id) {
      greedy_.push_back(testing::run(*device_, {request(id)}).record.outputs.at(0).at(0).output);
    }
  }

  Result run(const testing::PolicyNames& names) {
    Result result;
    for (std::int32_t id = 0; id < kPrompts; ++id) {
      ForcedDevice forced(*device_);
      forced.force(greedy_[static_cast<std::size_t>(id)]);
      const testing::Run run = testing::run(forced, {request(id)}, names);
      result.agreed += forced.agreed;
      for (const float logprob : run.record.outputs.at(0).at(0).logprobs) {
        result.logprob += static_cast<double>(logprob);
        ++result.tokens;
      }
      for (std::size_t step = 1; step < run.record.steps.size(); ++step) {  // the first computes the prompt
        result.slots += static_cast<double>(run.record.steps[step].slots.token.value());
        ++result.steps;
      }
    }
    return result;
  }

 private:
  Request request(std::int32_t id) const {
    Request request = testing::request(id, prompt_, output_);
    request.id = RequestId(0);
    for (TokenId& token : request.prompt) {
      token %= device_->capacity().vocabulary;
    }
    return request;
  }

  std::int64_t prompt_, output_;
  std::unique_ptr<ModelDevice> device_;
  std::vector<std::vector<TokenId>> greedy_;
};

}  // namespace
}  // namespace pagelab

int main(int argc, char** argv) {
  const std::string folder = argc > 1 ? argv[1] : PAGELAB_SOURCE_DIR "/tests/golden/llama";
  const std::int64_t prompt = argc > 3 ? std::atol(argv[2]) : 48;
  const std::int64_t output = argc > 3 ? std::atol(argv[3]) : 80;
  pagelab::Measurement measurement(folder, prompt, output);
  std::printf("| policy | budget | slots while decoding | mean log-probability | same greedy token |\n");
  std::printf("|---|---|---|---|---|\n");
  const pagelab::Result all = measurement.run({});
  pagelab::print("all", prompt + output, all, all);
  for (const std::int64_t share : {2, 4, 8}) {
    for (const char* policy : {"window", "sinks", "heavy_hitters"}) {
      const std::int64_t budget = (prompt + output) / share;
      pagelab::print(policy, budget, measurement.run(pagelab::testing::with_retention(policy, budget)), all);
    }
  }
}
