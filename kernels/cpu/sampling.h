// Choice of the next tokens from rows of logits: greedy, random (temperature, top-k, top-p) and the best few
// for beam search. Rows are shared out over the threads; a row's result depends on that row alone. Owns
// nothing: randomness comes in as uniform numbers.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/cpu/thread_pool.h"
#include "kernels/ops.h"

namespace pagelab::kernels::cpu {

/// Candidates of row i of logits go to out[indptr[i] .. indptr[i + 1]); see SampleSpec and Ops::sample.
///
/// The order of tokens is by falling logit, then rising id. Random draws are by inverse CDF in order of ids
/// over the kept tokens: the first top_k of that order, of these the shortest beginning that holds top_p of
/// their probability at the given temperature (at least one token), renormalised. Throws std::runtime_error,
/// naming the row, if a row holds NaN or positive infinity, or nothing but negative infinity, and
/// std::invalid_argument if a spec is out of range.
void sample(ThreadPool& pool, Tensor logits, std::span<const SampleSpec> specs,
            std::span<const std::int32_t> indptr, std::span<const float> uniforms, std::span<Candidate> out);

}  // namespace pagelab::kernels::cpu
