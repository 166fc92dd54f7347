// FigureCsv: a figure's numbers as CSV files. Reads what a paper published (columns system,x,y) and writes
// ours beside it (system,x,ours,ours_min,ours_max,published).
#pragma once

#include <filesystem>
#include <span>
#include <vector>

#include "experiments/reproduce/figure_curve.h"

namespace pagelab {

/// Adds the rows of `file` to the curves that their `system` names, in which x may be new. Throws InputError
/// that names file and line, and the curves that there are.
void add_published(const std::filesystem::path& file, std::span<FigureCurve> curves);

/// Writes one row per point, in the order of the curves and their points, and one more for each further value
/// that is published at the same x. Cells of what is not there are empty. Throws OutputError.
void write_figure_csv(const std::filesystem::path& file, std::span<const FigureCurve> curves);

}  // namespace pagelab
