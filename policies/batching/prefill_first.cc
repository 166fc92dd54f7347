// Prefill first: a step is either prompts or decodes. While a waiting prompt can be admitted, decodes stand
// still (vLLM v0.1.3 to v0.1.7).
#include "core/policy_registry.h"
#include "policies/batching/limits.h"

namespace pagelab {
namespace {

class PrefillFirst final : public BatchingPolicy {
 public:
  explicit PrefillFirst(const Parameters& parameters) : limits_(parameters) {}

  std::array<Stage, 3> stages() const override { return {Stage::waiting, Stage::running, Stage::swapped}; }

  Tokens grant(const BatchCandidate& candidate, const StepSoFar& step) override {
    const bool same_kind = candidate.decode ? step.prefills == 0 : step.prefills == step.groups;
    return same_kind ? limits_.whole(candidate, step) : Tokens(0);
  }

 private:
  StepLimits limits_;
};

}  // namespace

void register_batching_prefill_first(PolicyRegistry& registry) {
  registry.add<BatchingPolicy, PrefillFirst>(
      {.name = "prefill_first",
       .summary = "steps of prompts only while any can be admitted, else decodes",
       .source = "vLLM v0.1.3 to v0.1.7",
       .parameters = StepLimits::parameters(2560)});
}

}  // namespace pagelab
