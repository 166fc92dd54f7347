// Chunked prefill: every step has a budget of tokens. Running groups come first, so decodes never stall; what
// is left of the budget goes to prompts, which may be split over steps (Sarathi-Serve, OSDI 2024, section 4).
#include "core/policy_registry.h"
#include "policies/batching/limits.h"

namespace pagelab {
namespace {

class Chunked final : public BatchingPolicy {
 public:
  explicit Chunked(const Parameters& parameters) : limits_(parameters) {}

  Tokens grant(const BatchCandidate& candidate, const StepSoFar& step) override {
    if (candidate.decode) {
      return limits_.whole(candidate, step);
    }
    return limits_.may_start(candidate, step) ? std::min(candidate.pending, limits_.tokens_left(step))
                                              : Tokens(0);
  }

 private:
  StepLimits limits_;
};

}  // namespace

void register_batching_chunked(PolicyRegistry& registry) {
  registry.add<BatchingPolicy, Chunked>(
      {.name = "chunked",
       .summary = "decodes first, then chunks of prompts up to a token budget",
       .source = "Sarathi-Serve (OSDI 2024), section 4",
       .parameters = StepLimits::parameters(512)});
}

}  // namespace pagelab
