// Traffic of KV blocks: new K and V into their slots, and whole blocks from one place to another (copy on
// write within the device pool; swap between it and the pinned host pool, which kernels can address).
// Launchers: they queue work on a stream and return; arrays must live until the stream has run it.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/tensor_views.h"

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {

/// Writes K and V of every token into slot_mapping[t], rounded to nearest even. qkv rows [heads q | kv_heads
/// k | kv_heads v], each head_size wide; slots are distinct.
void write_kv(cudaStream_t stream, const float* qkv, std::int32_t heads, const PagedKv& kv,
              const std::int32_t* slot_mapping, std::int32_t tokens);

/// Copies block copies[i].source of `source` to copies[i].target of `target`, block_bytes each (a multiple of
/// 16), for all i in one launch. Either pool may be pinned host memory mapped into the device's addresses. No
/// target is another copy's source or target. `copies` [count] is device memory.
void copy_blocks(cudaStream_t stream, const void* source, void* target, std::int64_t block_bytes,
                 const BlockCopy* copies, std::int32_t count);

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
