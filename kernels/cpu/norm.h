// Layer norm and RMS norm, vectorised and shared out by rows. Stateless. A row is summed in an order that
// depends on its length alone.
#pragma once

#include "kernels/cpu/thread_pool.h"
#include "kernels/ops.h"

namespace pagelab::kernels::cpu {

/// out = (x - mean) / sqrt(variance + epsilon) * gamma + beta per row (Ba et al., 2016); gamma, beta
/// [x.cols]. out may be x.
void layer_norm(ThreadPool& pool, Tensor x, const float* gamma, const float* beta, float epsilon, Tensor out);
/// out = x / sqrt(mean(x^2) + epsilon) * gamma per row (Zhang and Sennrich, 2019); gamma [x.cols]. out may be
/// x.
void rms_norm(ThreadPool& pool, Tensor x, const float* gamma, float epsilon, Tensor out);

}  // namespace pagelab::kernels::cpu
