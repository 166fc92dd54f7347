// FigureRecord: a reproduced figure as it is left in the output folder: figNAME.csv with the numbers and
// figNAME.json with everything else that the plot and the page show. What plots and pages are made of is read
// back from there, so that a page shows the figures of earlier calls too.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "experiments/reproduce/figure.h"

namespace pagelab {

struct FigureRecord {
  const Figure* figure;
  std::vector<FigureCurve> curves;  ///< with what is published
  std::vector<Verdict> verdicts;    ///< parallel to the figure's claims
  std::vector<std::string> notes;
  std::int64_t seeds = 0;
  bool quick = false;  ///< shortened runs
};

/// Writes both files into `folder`. Throws OutputError.
void write_figure(const FigureRecord& record, const std::filesystem::path& folder);

/// figNAME.json of the figures among `names` that have one, in their order.
std::vector<nlohmann::ordered_json> read_figure_records(const std::filesystem::path& folder,
                                                        const std::vector<std::string>& names);

}  // namespace pagelab
