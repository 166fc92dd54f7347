// SummaryValue: one number of a run, read from its summary: a member by its path, or a sum of several,
// scaled.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "core/config.h"

namespace pagelab {

struct SummaryValue {
  std::vector<std::string> paths;  ///< "memory_shares.over_time.token"; summed
  double factor = 1;
  double offset = 0;

  /// sum * factor + offset. Throws InputError if the summary has no such number.
  double of(const nlohmann::ordered_json& summary) const;
};

/// From "a.b + c.d".
SummaryValue parse_summary_value(std::string_view text, double factor, double offset);

/// Reports through `table` that key `key` names what no summary has, with what is near.
void require_in_summary(const SummaryValue& value, const ConfigTable& table, std::string_view key);

}  // namespace pagelab
