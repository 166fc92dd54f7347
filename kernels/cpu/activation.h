// Elementwise gates of the feed-forward layers, vectorised and shared out by rows. Stateless.
#pragma once

#include "kernels/cpu/thread_pool.h"
#include "kernels/ops.h"

namespace pagelab::kernels::cpu {

/// out[m, i] = silu(x[m, i]) * x[m, F + i]; x [M, 2F], out [M, F].
void silu_mul(ThreadPool& pool, Tensor x, Tensor out);

}  // namespace pagelab::kernels::cpu
