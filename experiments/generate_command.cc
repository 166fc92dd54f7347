#include "experiments/generate_command.h"

#include <algorithm>
#include <optional>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/clock.h"
#include "core/engine.h"
#include "core/error.h"
#include "core/random.h"
#include "experiments/device_factory.h"
#include "models/shape.h"
#include "policies/builtin.h"

namespace pagelab {

namespace {

class OneRequest final : public Workload {
 public:
  explicit OneRequest(Request request) : request_(std::move(request)) {}
  std::optional<Seconds> next_arrival() const override {
    return taken_ ? std::nullopt : std::optional(Seconds(0));
  }
  Request take() override {
    taken_ = true;
    return request_;
  }
  void on_end(RequestId, Seconds) override {}
  std::int64_t total() const override { return 1; }

 private:
  Request request_;
  bool taken_ = false;
};

/// Keeps the sequences of the request; a refusal is an error.
class Keeper final : public Recorder {
 public:
  void on_step(const StepRecord&, std::span<const Decision>) override {}
  void on_finish(const SequenceGroup& group) override { done = group.done; }
  void on_refuse(const Request&, Seconds, const std::string& why) override {
    throw InputError("refused: " + why);
  }

  std::vector<FinishedSequence> done;
};

PolicySet standard_policies() {
  PolicyRegistry registry;
  register_builtin_policies(registry);
  PolicySet set;
  set.for_each([&]<class Policy>(PolicySet::Choice<Policy>& choice) {
    const std::string name(Axis<Policy>::standard);
    choice = {name, registry.make<Policy>(
                        name, Parameters(registry.find(Axis<Policy>::name, name).info.parameters))};
  });
  return set;
}

void check_prompt(const GenerateOptions& options, const ModelShape& shape) {
  for (const TokenId id : options.ids) {
    if (id < 0 || id >= shape.vocab) {
      throw InputError(
          fmt::format("--ids: {} is not in the vocabulary of {} (0 to {})", id, shape.name, shape.vocab - 1));
    }
  }
  const auto length = static_cast<std::int64_t>(options.ids.size()) + options.max_new - 1;
  if (length > shape.max_positions) {
    throw InputError(fmt::format("{} ids and --max-new {} need {} positions, {} has {}", options.ids.size(),
                                 options.max_new, length, shape.name, shape.max_positions));
  }
}

/// Every sequence at its full length, with a block for copying on write each and one to spare.
DeviceChoice device_for(const GenerateOptions& options) {
  const auto length = Tokens(static_cast<std::int64_t>(options.ids.size()) + options.max_new);
  const Blocks each = blocks_for(length, Tokens(options.block_size)) + Blocks(1);
  return {.kind = options.device,
          .threads = options.threads,
          .block_size = Tokens(options.block_size),
          .device_blocks = each * (options.sampling.n + 1),
          .host_blocks = Blocks(0),
          .kv_dtype = options.kv_dtype};
}

}  // namespace

std::string generate(const GenerateOptions& options) {
  check_prompt(options, resolve_shape(options.model.location));
  const BuiltDevice built = make_device(options.model, device_for(options), options.seed);
  Request request;
  request.prompt = options.ids;
  request.max_output = Tokens(options.max_new);
  request.sampling = options.sampling;
  request.sampling.seed = derive_seed(options.seed, "request", 0);
  OneRequest workload(std::move(request));
  VirtualClock clock;
  Keeper keeper;
  Engine engine(*built.device, clock, workload, standard_policies(), keeper);
  while (engine.step()) {
  }
  nlohmann::ordered_json sequences = nlohmann::ordered_json::array();
  for (const FinishedSequence& sequence : keeper.done) {
    sequences.push_back(
        {{"ids", sequence.output}, {"logprobs", sequence.logprobs}, {"score", sequence.score}});
  }
  return nlohmann::ordered_json{{"sequences", sequences}}.dump() + "\n";
}

}  // namespace pagelab
