// Summary: the results of a run as summary.json and as the ten lines that `pagelab run` prints. Made from the
// statistics alone, so in virtual time equal runs have equal summaries.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "experiments/run_statistics.h"

namespace pagelab {

/// How a run ended.
struct RunEnd {
  bool complete = true;
  std::string reason{};  ///< why it is not complete
  nlohmann::ordered_json
      operator_seconds{};           ///< measured or modelled, by kind of operation; null with a linear cost
  nlohmann::ordered_json census{};  ///< what policies were asked, by axis
  std::vector<std::string> warnings{};
};

/// `provenance` becomes its last member, with the end's census. Sorts the statistics' lists.
nlohmann::ordered_json summary_json(RunStatistics& statistics, const RunEnd& end,
                                    const nlohmann::ordered_json& provenance);

/// Ten lines for people, from what summary_json() returned.
std::string summary_text(const nlohmann::ordered_json& summary);

}  // namespace pagelab
