// Causal attention over a page table in double and plain loops. For tests only.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "kernels/ops.h"

namespace pagelab::kernels::reference {

/// K or V at (block, kv head, offset in the block, dimension).
using LoadKv = std::function<float(std::int32_t, std::int32_t, std::int32_t, std::int32_t)>;

/// Ops::attention of one layer: the output [T, heads * head_size] for every token of the batch.
std::vector<double> paged_attention(const KvShape& shape, const LoadKv& load_k, const LoadKv& load_v,
                                    Tensor qkv, std::int32_t heads, double scale,
                                    const AttentionBatch& batch);

/// What AttentionBatch::slot_weights of one layer gets for a sequence, not rounded.
std::vector<double> slot_weights(const KvShape& shape, const LoadKv& load_k, Tensor qkv, std::int32_t heads,
                                 double scale, const AttentionBatch& batch, std::size_t sequence);

}  // namespace pagelab::kernels::reference
