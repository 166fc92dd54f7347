// Static batching: a batch is made of the requests that wait when nothing runs, and runs to its end before
// another is made; its requests are answered together (FasterTransformer behind a request-level scheduler, as
// in the PagedAttention paper, section 6.1; Orca, OSDI 2022, section 3, calls it request-level scheduling).
#include "core/policy_registry.h"

namespace pagelab {
namespace {

class Static final : public BatchingPolicy {
 public:
  explicit Static(const Parameters& parameters) : max_groups_(parameters.integer("max_groups")) {}

  Tokens grant(const BatchCandidate& candidate, const StepSoFar& step) override {
    if (candidate.stage == Stage::running) {
      return candidate.pending;
    }
    const bool batch_runs = step.prefills < step.groups;  // some group decodes
    const bool room = max_groups_ == 0 || step.groups < max_groups_;
    return room && !batch_runs ? candidate.pending : Tokens(0);
  }
  bool ends_together() const override { return true; }

 private:
  std::int64_t max_groups_;
};

}  // namespace

void register_batching_static(PolicyRegistry& registry) {
  registry.add<BatchingPolicy, Static>(
      {.name = "static",
       .summary = "a batch runs to completion before the next is made",
       .source = "FasterTransformer, as in PagedAttention (SOSP 2023), section 6.1",
       .parameters = {{.name = "max_groups",
                       .default_value = std::int64_t{0},
                       .unit = "groups",
                       .help = "in a batch at most; 0: as many as memory allows",
                       .minimum = 0}}});
}

}  // namespace pagelab
