// The cheaper way: the latest group gives way and comes back by recomputation or by swapping, whichever adds
// less to the steps by what the device says of its costs. Against thrashing, two kinds of hysteresis. A group
// that is preempted again before it has produced `progress` tokens was recomputed for little, and what that
// cost is charged to recomputing it once more; so a group that comes and goes is swapped when it has cost as
// much as that (the rule for renting or buying skis). And a victim goes the way of the last one unless the
// other way is cheaper by a share `hysteresis`, since costs are estimates and near each other for many
// groups.
#include <algorithm>
#include <array>

#include "core/policy_registry.h"

namespace pagelab {
namespace {

class Cost final : public PreemptionPolicy {
 public:
  explicit Cost(const Parameters& parameters)
      : hysteresis_(parameters.real("hysteresis")),
        progress_(parameters.integer("progress")),
        token_s_(parameters.real("recompute_token_s")),
        byte_s_(parameters.real("swap_byte_s")) {}

  void start(const PreemptionView& view) override { view_ = &view; }

  Victim choose(std::span<const GroupView> candidates) override {
    const std::size_t last = candidates.size() - 1;
    const GroupView& group = candidates[last];
    const Seconds recompute = recompute_cost(group);
    History& history = history_of(group);
    if (group.output_tokens() - history.output >= progress_) {
      history = {.request = group.request(), .output = group.output_tokens()};
    }
    const bool thrashes = history.spent > Seconds(0);
    history.spent += recompute;
    if (!view_->swappable(group)) {
      return {last, PreemptionMode::recompute, "the latest; it cannot be swapped"};
    }
    const Seconds swap = swap_cost(group);
    const double margin = last_way_ == PreemptionMode::swap ? 1 + hysteresis_ : 1 - hysteresis_;
    if (swap >= history.spent * margin) {
      last_way_ = PreemptionMode::recompute;
      return {last, PreemptionMode::recompute, "the latest; recomputing is cheaper"};
    }
    last_way_ = PreemptionMode::swap;
    return {last, PreemptionMode::swap,
            thrashes ? "the latest; it was recomputed for little" : "the latest; swapping is cheaper"};
  }

 private:
  /// A group that was preempted: the tokens that it had then, and what recomputing it has cost since.
  struct History {
    RequestId request{-1};
    Tokens output{};
    Seconds spent{};
  };

  /// That of a group, a new one in place of the oldest if it has none.
  History& history_of(const GroupView& group) {
    const auto known = std::ranges::find(histories_, group.request(), &History::request);
    if (known != histories_.end()) {
      return *known;
    }
    History& oldest = histories_[next_++ % histories_.size()];
    oldest = {.request = group.request(), .output = group.output_tokens()};
    return oldest;
  }

  Seconds recompute_cost(const GroupView& group) const {
    const Tokens tokens = view_->tokens_lost(group);
    const PreemptionCosts* costs = view_->costs();
    const auto known = costs != nullptr ? costs->recompute(tokens) : std::nullopt;
    return known.value_or(Seconds(token_s_ * static_cast<double>(tokens.value())));
  }

  /// There and back.
  Seconds swap_cost(const GroupView& group) const {
    const Blocks blocks = view_->held(group);
    const Seconds one_way(byte_s_ * static_cast<double>((blocks.value() * view_->block_bytes()).value()));
    const PreemptionCosts* costs = view_->costs();
    const auto out = costs != nullptr ? costs->swap_out(blocks) : std::nullopt;
    const auto in = costs != nullptr ? costs->swap_in(blocks) : std::nullopt;
    return out.value_or(one_way) + in.value_or(one_way);
  }

  double hysteresis_;
  Tokens progress_;
  double token_s_, byte_s_;
  const PreemptionView* view_ = nullptr;
  PreemptionMode last_way_ = PreemptionMode::recompute;
  std::array<History, 256> histories_;  ///< of the last victims
  std::size_t next_ = 0;
};

}  // namespace

void register_preemption_cost(PolicyRegistry& registry) {
  registry.add<PreemptionPolicy, Cost>(
      {.name = "cost",
       .summary = "the latest group, by the cheaper of recomputing and swapping it",
       .source = "PagedAttention (SOSP 2023), sections 4.5 and 7.3: the two ways and what they cost",
       .parameters = {{.name = "hysteresis",
                       .default_value = 0.1,
                       .help = "the way taken last is kept unless the other is cheaper by this share",
                       .minimum = 0,
                       .maximum = 1},
                      {.name = "progress",
                       .default_value = 4,
                       .unit = "tokens",
                       .help = "that a group must have produced since it was preempted, or it thrashes",
                       .minimum = 1,
                       .maximum = 1e6},
                      {.name = "recompute_token_s",
                       .default_value = 1e-4,
                       .unit = "s/token",
                       .help = "cost of recomputing where the device knows none",
                       .minimum = 0,
                       .maximum = 1e6},
                      {.name = "swap_byte_s",
                       .default_value = 1e-10,
                       .unit = "s/byte",
                       .help = "cost of swapping, either way, where the device knows none",
                       .minimum = 0,
                       .maximum = 1e6}}});
}

}  // namespace pagelab
