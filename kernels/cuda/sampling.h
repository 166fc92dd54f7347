// The next tokens of rows of logits: greedy, random draws after temperature, top-k and top-p, or the largest
// for beam search. A launcher: it queues work on a stream and returns; arrays are device memory.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/tensor_views.h"

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {

/// The token of every candidate of a row that is no distribution: it holds NaN or positive infinity, or
/// nothing but negative infinity. The caller turns it into an error.
inline constexpr std::int32_t kNoToken = -1;

/// Ops::sample: candidates of row i go to out[indptr[i] .. indptr[i + 1]); `uniforms` is parallel to `out`
/// and comes from the caller, so that the stream of random numbers is the same on every backend. Draws walk
/// the kept tokens in order of their ids, as the cpu's do, so that the same uniform draws the same token;
/// tokens less likely than 2^-40 of the likeliest are never drawn. Requires specs within the ranges of
/// SampleSpec, at most logits.cols candidates of Kind::top, and uniforms in [0, 1); the result of a row
/// repeats bit for bit.
void sample(cudaStream_t stream, Tensor logits, const SampleSpec* specs, const std::int32_t* indptr,
            const float* uniforms, Candidate* out);

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
