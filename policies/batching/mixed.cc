// Mixed batching: each step concatenates all prompts admitted and the latest token of every running sequence;
// prompts are never split (PagedAttention paper, section 4.3; the limits are those of the authors' code).
#include "core/policy_registry.h"
#include "policies/batching/limits.h"

namespace pagelab {
namespace {

class Mixed final : public BatchingPolicy {
 public:
  explicit Mixed(const Parameters& parameters) : limits_(parameters) {}

  Tokens grant(const BatchCandidate& candidate, const StepSoFar& step) override {
    return limits_.whole(candidate, step);
  }

 private:
  StepLimits limits_;
};

}  // namespace

void register_batching_mixed(PolicyRegistry& registry) {
  registry.add<BatchingPolicy, Mixed>({.name = "mixed",
                                       .summary = "all prompts and decodes that fit, in one step",
                                       .source = "PagedAttention (SOSP 2023), section 4.3",
                                       .parameters = StepLimits::parameters(2560)});
}

}  // namespace pagelab
