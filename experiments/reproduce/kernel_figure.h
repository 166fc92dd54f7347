// KernelFigure: the curves of a figure of kind "kernel": paged attention, one decoded token per sequence,
// over KV in blocks scattered over the pool, and the same kernel over contiguous KV (blocks as long as the
// context, in order). Measured on this machine in real time, the two in turns, on its CPU and on its GPU
// where there is one (series with _cuda behind their names). What was measured is kept in a file and used
// again for as long as the same is asked for.
#pragma once

#include <filesystem>
#include <vector>

#include "experiments/reproduce/figure.h"
#include "experiments/reproduce/figure_curve.h"

namespace pagelab {

/// In microseconds of one call for one layer: median, and as the range the first and the third quartile.
/// `folder` keeps the measurement. Throws OutputError.
std::vector<FigureCurve> kernel_curves(const Figure& figure, const std::filesystem::path& folder);

}  // namespace pagelab
