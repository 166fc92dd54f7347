// PlotScript: draws figures with scripts/plot_figures.py. The script's text is part of the program, so that
// an installed program needs no file beside it; it is fed to Debian's Python, which has matplotlib.
#pragma once

#include <filesystem>
#include <span>
#include <string>

namespace pagelab {

/// The text of scripts/plot_figures.py.
std::string plot_script();

/// Writes figNAME.svg and figNAME.png for figNAME.csv and figNAME.json in `folder`. Returns an empty text, or
/// why there are no plots.
std::string draw_figures(const std::filesystem::path& folder, std::span<const std::string> names);

}  // namespace pagelab
