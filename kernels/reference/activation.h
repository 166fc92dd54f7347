// The activation functions of Ops in double. For tests only.
#pragma once

#include "kernels/ops.h"

namespace pagelab::kernels::reference {

double activate(double x, Activation activation);
/// x / (1 + exp(-x)).
double silu(double x);

}  // namespace pagelab::kernels::reference
