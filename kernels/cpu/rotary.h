// Rotary position embedding (RoFormer, section 3.4) with LLaMA's pairing of dimension i with i + head_size
// / 2. Owns nothing; angles are rounded to f32 as the common implementations do, and their sine and cosine
// are exact to f32, at any position.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/cpu/thread_pool.h"
#include "kernels/ops.h"

namespace pagelab::kernels::cpu {

/// Rotates the first `heads` heads of each row of x in place by positions[row] * inv_freq[i]. Requires an
/// even head_size of at most 256, rotary.inv_freq.size() == head_size / 2 and positions.size() >= x.rows.
void rotary(ThreadPool& pool, Tensor x, std::int32_t heads, std::int32_t head_size,
            std::span<const std::int32_t> positions, const Rotary& rotary);

}  // namespace pagelab::kernels::cpu
