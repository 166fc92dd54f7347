// Attention sinks: the first tokens of a sequence and the newest keep their KV (StreamingLLM, ICLR 2024,
// section 3.2). The paper counts positions within the cache; here a token keeps the position that it has in
// its sequence, so a sequence cannot be longer than the model's positions.
#include <fmt/format.h>

#include "core/policy_registry.h"
#include "policies/retention/budget.h"

namespace pagelab {
namespace {

class Sinks final : public BudgetedRetention {
 public:
  explicit Sinks(const Parameters& parameters)
      : BudgetedRetention(parameters), sinks_(static_cast<std::int32_t>(parameters.integer("sinks"))) {
    if (sinks_ > slots() - 2) {
      throw InputError(fmt::format("policy.retention.sinks: must be at most {} with a budget of {}; found {}",
                                   slots() - 2, slots(), sinks_));
    }
  }

  void choose(const SlotsView& slots, Tokens least, std::vector<std::int32_t>& drop) override {
    drop_lowest(slots, least, drop, [&](std::size_t slot) {
      const std::int32_t position = slots.positions()[slot];
      return position < sinks_ ? stays : position;
    });
  }

  static std::vector<ParameterSpec> parameters() {
    return {budget_parameter(),
            {.name = "sinks",
             .default_value = std::int64_t{4},
             .unit = "tokens",
             .help = "of the start of a sequence that always keep their KV; at most budget - 2",
             .minimum = 0}};
  }

 private:
  std::int32_t sinks_;
};

}  // namespace

void register_retention_sinks(PolicyRegistry& registry) {
  registry.add<RetentionPolicy, Sinks>({.name = "sinks",
                                        .summary = "the first tokens and the newest",
                                        .source = "StreamingLLM (ICLR 2024), section 3.2",
                                        .parameters = Sinks::parameters()});
}

}  // namespace pagelab
