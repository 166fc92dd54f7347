// Retention policies as a model that knows no slots: a sequence keeps a list of tokens in order of positions,
// and a rule says which of them goes first. For tests that compare what the engine does with what it should.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

#include "tests/support/builders.h"

namespace pagelab::testing {

/// A token that is kept, and the attention that it received.
struct KeptToken {
  std::int32_t position;
  double weight = 0;
};

inline std::int64_t budget_of(const PolicyNames& names) {
  return std::get<std::int64_t>(names.parameters.at("retention.budget"));
}

/// A retention policy with a budget; the others are the standard ones.
inline PolicyNames with_retention(const std::string& name, std::int64_t budget) {
  PolicyNames names{.retention = name};
  if (name != "all") {
    names.parameters["retention.budget"] = budget;
  }
  return names;
}

/// Which of the kept tokens goes first, by the policies' own words.
inline std::function<std::size_t(const std::vector<KeptToken>&)> victim_rule(const PolicyNames& names) {
  if (names.retention == "window") {
    return [](const auto&) { return std::size_t{0}; };
  }
  if (names.retention == "sinks") {
    return [](const std::vector<KeptToken>& kept) {
      const auto first = std::ranges::find_if(kept, [](const KeptToken& k) { return k.position >= 4; });
      return static_cast<std::size_t>(first - kept.begin());
    };
  }
  const auto recent = static_cast<std::int32_t>(std::max<std::int64_t>(2, budget_of(names) / 2)) - 1;
  return [recent](const std::vector<KeptToken>& kept) {  // the token to come is a recent one, too
    const auto old = std::ranges::find_if(
        kept, [&](const KeptToken& k) { return k.position > kept.back().position - recent; });
    return static_cast<std::size_t>(std::ranges::min_element(kept.begin(), old, {}, &KeptToken::weight) -
                                    kept.begin());
  };
}

/// Makes room for the next token.
inline void drop_over_budget(const PolicyNames& names, std::vector<KeptToken>& kept) {
  const auto victim = victim_rule(names);
  while (static_cast<std::int64_t>(kept.size()) >= budget_of(names)) {
    kept.erase(kept.begin() + static_cast<std::ptrdiff_t>(victim(kept)));
  }
}

}  // namespace pagelab::testing
