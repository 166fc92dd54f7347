// What the retention policies with a budget have in common: the parameter, and picking the slots that rank
// lowest.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "core/parameters.h"
#include "core/retention.h"

namespace pagelab {

class BudgetedRetention : public RetentionPolicy {
 public:
  explicit BudgetedRetention(const Parameters& parameters) : budget_(parameters.integer("budget")) {}

  Tokens budget(const GroupView&) override { return budget_; }

 protected:
  static ParameterSpec budget_parameter() {
    return {.name = "budget",
            .default_value = std::int64_t{256},
            .unit = "tokens",
            .help = "KV slots that a sequence holds while it decodes, at most",
            .minimum = 2};
  }

  std::int32_t slots() const { return static_cast<std::int32_t>(budget_.value()); }

  /// Adds the `count` slots of the lowest rank, of two equal ones that of the older token. `rank(slot)` is a
  /// number; infinity: the slot must stay.
  template <class Rank>
  void drop_lowest(const SlotsView& view, Tokens count, std::vector<std::int32_t>& drop, Rank&& rank) {
    order_.clear();
    for (std::size_t slot = 0; slot < view.positions().size(); ++slot) {
      order_.push_back(
          {static_cast<double>(rank(slot)), view.positions()[slot], static_cast<std::int32_t>(slot)});
    }
    const auto end = order_.begin() + static_cast<std::ptrdiff_t>(count.value());
    std::nth_element(order_.begin(), end - 1, order_.end());
    for (auto slot = order_.begin(); slot != end; ++slot) {
      drop.push_back(slot->slot);
    }
  }

  static constexpr double stays = std::numeric_limits<double>::infinity();

 private:
  struct Ranked {
    double rank;
    std::int32_t position;
    std::int32_t slot;
    bool operator<(const Ranked& other) const {
      return rank != other.rank ? rank < other.rank : position < other.position;
    }
  };

  Tokens budget_;
  std::vector<Ranked> order_;
};

}  // namespace pagelab
