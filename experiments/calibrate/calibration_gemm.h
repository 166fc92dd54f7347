// The curves of matrix products, from their times. The formula of one product has two efficiencies: of
// computing by rows, of traffic by bytes of weights (models/device_description.h). A product of few rows is
// nearly all traffic and shows the second; the first is then what the rest of the time asks for. A pure
// function of its arguments.
#pragma once

#include <vector>

#include "models/device_description.h"

namespace pagelab {

/// A product [rows, inner] x [inner, cols], and how much of a step it is.
struct MeasuredProduct {
  double rows = 0;
  double cols = 0;
  double inner = 0;
  double seconds = 0;
  double calls = 0;  ///< in a step

  double flops() const { return 2 * rows * cols * inner; }
  double weights() const { return cols * inner; }
  double numbers() const { return weights() + rows * (cols + inner); }
};

/// The description under which the products of each number of rows take together the time that they took,
/// with the overlap that leaves the smallest error over the single ones. `products` are in the order of their
/// rows, one at least; `launch_s` is what a product of no size takes; weights have `element_bytes` bytes.
DeviceDescription::Gemm fit_gemm(std::vector<MeasuredProduct> products, double launch_s,
                                 double element_bytes);

}  // namespace pagelab
