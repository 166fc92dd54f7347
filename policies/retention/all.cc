// All tokens keep their KV, as in a transformer as it was trained.
#include "core/policy_registry.h"

namespace pagelab {
namespace {

class All final : public RetentionPolicy {
 public:
  bool keeps_all() const override { return true; }
  Tokens budget(const GroupView& group) override { return group.prompt_tokens(); }
  void choose(const SlotsView&, Tokens, std::vector<std::int32_t>&) override {}
};

}  // namespace

void register_retention_all(PolicyRegistry& registry) {
  registry.add<RetentionPolicy, All>({.name = "all",
                                      .summary = "every token keeps its KV",
                                      .source = "PagedAttention (SOSP 2023), section 4"});
}

}  // namespace pagelab
