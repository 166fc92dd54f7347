// A sliding window: the newest tokens keep their KV (Longformer, section 3.1, as the attention of a decoder).
#include "core/policy_registry.h"
#include "policies/retention/budget.h"

namespace pagelab {
namespace {

class Window final : public BudgetedRetention {
 public:
  using BudgetedRetention::BudgetedRetention;

  void choose(const SlotsView& slots, Tokens least, std::vector<std::int32_t>& drop) override {
    drop_lowest(slots, least, drop, [&](std::size_t slot) { return slots.positions()[slot]; });
  }

  static std::vector<ParameterSpec> parameters() { return {budget_parameter()}; }
};

}  // namespace

void register_retention_window(PolicyRegistry& registry) {
  registry.add<RetentionPolicy, Window>({.name = "window",
                                         .summary = "the newest tokens: a sliding window",
                                         .source = "Longformer (2020), section 3.1",
                                         .parameters = Window::parameters()});
}

}  // namespace pagelab
