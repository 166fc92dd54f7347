#include "core/retainer.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/error.h"

namespace pagelab {

void Retainer::broken(std::int64_t step, const std::string& rule) const {
  throw PolicyError(
      fmt::format("policy {}/{}, step {}: {}", Axis<RetentionPolicy>::name, choice_.name, step, rule));
}

void Retainer::begin(SequenceGroup& group, std::int64_t step) const {
  try {
    group.retained.budget = choice_->budget(GroupView(group));
  } catch (const std::exception& error) {
    broken(step, fmt::format("it threw '{}'", error.what()));
  }
  if (group.retained.budget < Tokens(2)) {
    broken(step, fmt::format("its budget for request {} is {}; it must be at least 2",
                             group.request.id.value(), group.retained.budget.value()));
  }
}

void Retainer::add_weights(std::span<const Decision> decisions, std::span<const double> weights) const {
  if (!weighs_) {
    return;
  }
  for (const Decision& decision : decisions) {
    if (!computes(decision)) {
      continue;
    }
    std::vector<double>& sums = decision.group->retained.weights;
    PAGELAB_INVARIANT(sums.size() <= weights.size(), "the device handed out too few attention weights");
    for (std::size_t slot = 0; slot < sums.size(); ++slot) {
      sums[slot] += weights[slot];
    }
    weights = weights.subspan(sums.size());
  }
}

bool Retainer::is_full(const SequenceGroup& group) {
  const Sequence& sequence = group.live.front();
  return sequence.computed >= sequence.prompt &&
         sequence.computed - sequence.dropped >= group.retained.budget;
}

void Retainer::choose(SequenceGroup& group, std::int64_t step) {
  const Sequence& sequence = group.live.front();
  const Tokens least = sequence.computed - sequence.dropped - group.retained.budget + Tokens(1);
  std::vector<std::int32_t>& drop = group.retained.dropping;
  drop.clear();
  try {
    choice_->choose(SlotsView(group, weighs_), least, drop);
  } catch (const std::exception& error) {
    broken(step, fmt::format("it threw '{}'", error.what()));
  }
  std::sort(drop.begin(), drop.end());
  check(group, least, step);
}

void Retainer::check(const SequenceGroup& group, Tokens least, std::int64_t step) const {
  const RetainedSlots& held = group.retained;
  const std::int32_t request = group.request.id.value();
  const auto slots = static_cast<std::int32_t>(held.positions.size());
  const auto newest = static_cast<std::int32_t>(group.live.front().computed.value()) - 1;
  if (static_cast<std::int64_t>(held.dropping.size()) < least.value()) {
    broken(step, fmt::format("it drops {} slots of request {}, which must lose at least {}",
                             held.dropping.size(), request, least.value()));
  }
  std::int32_t previous = -1;
  for (const std::int32_t slot : held.dropping) {
    if (slot < 0 || slot >= slots) {
      broken(step, fmt::format("it drops slot {} of request {}, which has slots 0 to {}", slot, request,
                               slots - 1));
    }
    if (slot == previous) {
      broken(step, fmt::format("it drops slot {} of request {} twice", slot, request));
    }
    if (held.positions[static_cast<std::size_t>(slot)] == newest) {
      broken(step,
             fmt::format("it drops slot {} of request {}, which holds its newest token", slot, request));
    }
    previous = slot;
  }
}

}  // namespace pagelab
