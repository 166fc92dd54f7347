// Heavy hitters: the newest tokens keep their KV, and of the others those that received most attention so far
// (H2O, NeurIPS 2023, section 4 and algorithm 1). The paper ranks tokens for every head and layer apart; here
// a token's KV of all heads and layers is one slot, so their attention is summed.
#include "core/policy_registry.h"
#include "policies/retention/budget.h"

namespace pagelab {
namespace {

class HeavyHitters final : public BudgetedRetention {
 public:
  explicit HeavyHitters(const Parameters& parameters)
      : BudgetedRetention(parameters),
        recent_(std::max<std::int32_t>(2, static_cast<std::int32_t>(parameters.real("recent") * slots()))) {}

  bool wants_weights() const override { return true; }
  void choose(const SlotsView& slots, Tokens least, std::vector<std::int32_t>& drop) override {
    // The token that comes next is one of the recent ones.
    const std::int32_t first_recent = slots.newest() - (recent_ - 1) + 1;
    drop_lowest(slots, least, drop, [&](std::size_t slot) {
      return slots.positions()[slot] >= first_recent ? stays : slots.weights()[slot];
    });
  }

  static std::vector<ParameterSpec> parameters() {
    return {budget_parameter(),
            {.name = "recent",
             .default_value = 0.5,
             .help = "share of the budget for the newest tokens; at least 2 of them",
             .minimum = 0.0,
             .maximum = 1.0}};
  }

 private:
  std::int32_t recent_;  ///< tokens
};

}  // namespace

void register_retention_heavy_hitters(PolicyRegistry& registry) {
  registry.add<RetentionPolicy, HeavyHitters>(
      {.name = "heavy_hitters",
       .summary = "the newest tokens and those that received most attention",
       .source = "H2O (NeurIPS 2023), section 4 and algorithm 1",
       .parameters = HeavyHitters::parameters()});
}

}  // namespace pagelab
