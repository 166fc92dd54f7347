// Causal attention of chunks of new tokens over the paged KV of their sequences, cached prefix included
// (FlashAttention-2 tiling). A launcher: it queues work on a stream and returns; arrays are device memory and
// must live until the stream has run it.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/attention_plan.h"
#include "kernels/cuda/tensor_views.h"

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {

/// `items` [item_count] in device memory. K and V of the chunks' own tokens are already in their slots. Head
/// sizes 64, 80, 96, 128, 256; throws std::invalid_argument for others.
void prefill_attention(cudaStream_t stream, const AttentionQueries& queries, const PagedKv& kv,
                       const DeviceBatch& batch, const PrefillItem* items, std::int32_t item_count);

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
