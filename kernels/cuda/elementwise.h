// The operations of a forward pass that work row by row: embedding, norms, rotary embedding, activations,
// conversion, gathering. Launchers: they queue work on a stream and return; all arrays are device memory.
// Zero rows are allowed everywhere and launch nothing.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/tensor_views.h"

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {

/// out[t] (+)= table[ids[t]]; table [*, out.cols] of `dtype`.
void embedding(cudaStream_t stream, const void* table, DType dtype, const std::int32_t* ids, Tensor out,
               bool accumulate);

/// out = (x - mean) / sqrt(variance + epsilon) * gamma + beta per row (population variance, two passes).
void layer_norm(cudaStream_t stream, Tensor x, const float* gamma, const float* beta, float epsilon,
                Tensor out);
/// out = x / sqrt(mean(x^2) + epsilon) * gamma per row.
void rms_norm(cudaStream_t stream, Tensor x, const float* gamma, float epsilon, Tensor out);
/// residual += x, then out = rms_norm(residual): both in one pass over memory. out may be x.
void add_rms_norm(cudaStream_t stream, Tensor x, Tensor residual, const float* gamma, float epsilon,
                  Tensor out);

/// Rotates the first `heads` heads of each row in place (RoFormer, section 3.4; dimension i pairs with
/// i + head_size / 2); inv_freq [head_size / 2]. Angles are products in float, as everywhere in Ops; their
/// sines are good to 2e-7 at any position. head_size is even and at most 256.
void rotary(cudaStream_t stream, Tensor x, std::int32_t heads, std::int32_t head_size,
            const std::int32_t* positions, const float* inv_freq);

/// x[m, i] = act(x[m, i] + bias[i]) in place; bias may be null.
void bias_activation(cudaStream_t stream, Tensor x, const float* bias, Activation act);
/// out[m, i] = silu(x[m, i]) * x[m, F + i], x [M, 2F], out [M, F].
void silu_mul(cudaStream_t stream, Tensor x, Tensor out);

/// The values of x as bf16 or f16, row-major; `out` holds rows * cols elements.
void convert(cudaStream_t stream, Tensor x, DType dtype, void* out);

/// out[i] = x[rows[i]].
void gather_rows(cudaStream_t stream, Tensor x, const std::int32_t* rows, Tensor out);

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
