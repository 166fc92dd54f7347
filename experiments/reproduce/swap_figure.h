// SwapFigure: the curves of a figure of kind "swap": how long a device takes to swap the KV of some tokens
// out, in, and out and in, and to compute it again, by block size. It asks the device that the figure's
// experiment names, a step at a time, without an engine; a step without work is not counted.
#pragma once

#include <string>
#include <vector>

#include "core/policy_registry.h"
#include "experiments/reproduce/figure.h"
#include "experiments/reproduce/figure_curve.h"

namespace pagelab {

/// In milliseconds. Adds to `notes` what the page should say. Throws InputError.
std::vector<FigureCurve> swap_curves(const Figure& figure, const PolicyRegistry& registry,
                                     std::vector<std::string>& notes);

/// All experiments of the figure resolved and their devices made, without a step: throws what swap_curves()
/// would throw later.
void check_swap_figure(const Figure& figure, const PolicyRegistry& registry);

}  // namespace pagelab
