// Decode first: a step is either decodes or prompts, and prompts have to wait until (nearly) all running
// sequences are done. It is what Sarathi-Serve (OSDI 2024) calls a decode-prioritizing schedule: no pause
// between tokens, at the price of small batches and long waits. Unlike static it answers each request at its
// end.
#include "core/policy_registry.h"
#include "policies/batching/limits.h"

namespace pagelab {
namespace {

class DecodeFirst final : public BatchingPolicy {
 public:
  explicit DecodeFirst(const Parameters& parameters)
      : limits_(parameters), refill_below_(parameters.integer("refill_below")) {}

  std::array<Stage, 3> stages() const override { return {Stage::waiting, Stage::running, Stage::swapped}; }

  Tokens grant(const BatchCandidate& candidate, const StepSoFar& step) override {
    const bool same_kind = candidate.decode ? step.prefills == 0 : step.prefills == step.groups;
    const bool may_refill = candidate.stage != Stage::waiting || step.groups > 0 ||  // prompts have begun
                            step.running_sequences < refill_below_;
    return same_kind && may_refill ? limits_.whole(candidate, step) : Tokens(0);
  }

 private:
  StepLimits limits_;
  std::int64_t refill_below_;
};

}  // namespace

void register_batching_decode_first(PolicyRegistry& registry) {
  std::vector<ParameterSpec> parameters = StepLimits::parameters(2560);
  parameters.push_back({.name = "refill_below",
                        .default_value = std::int64_t{1},
                        .unit = "sequences",
                        .help = "prompts get a step when fewer run; 1: when none does",
                        .minimum = 1});
  registry.add<BatchingPolicy, DecodeFirst>(
      {.name = "decode_first",
       .summary = "steps of decodes only while enough run, else prompts",
       .source = "decode-prioritizing schedules as in Sarathi-Serve (OSDI 2024)",
       .parameters = std::move(parameters)});
}

}  // namespace pagelab
