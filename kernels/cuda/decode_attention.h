// Attention of one new token per sequence over paged KV, or over contiguous KV for comparison. Launchers
// only: they queue work on a stream and return; arrays are device memory and must live until the stream has
// run it.
//
// Memory bounds it: per sequence and layer 2 * context * kv_heads * head_size * size_of(dtype) bytes are read
// once, whatever the group of query heads. At an A100's 2.04 TB/s (H100: 3.35) that is, in f16, for 64
// sequences of 2,048 positions, per layer: 32 heads of 128 (LLaMA-7B) 1,053 us (641), 8 kv heads of 128
// (Llama-3-8B) 263 us (160), 32 of 80 (OPT-2.7B) 658 us (401), 12 of 64 (OPT-125M) 197 us (120), 8 of 256 526
// us (320); twice that in f32. A merge adds partials * heads * (head_size + 8) * 4 bytes, written and read:
// in f16 at most 1 % of the KV times the group.
//
// Arithmetic is in float. For groups of 2 and more over f16 and bf16, tensor cores do the products: q and the
// softmax weights are rounded to that type. With u = 2^-11 (2^-8), the weights' rounding moves a result by at
// most u of the largest |v|, q's moves a score by at most scale * u * sum(|q * k|).
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/attention_plan.h"
#include "kernels/cuda/tensor_views.h"

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {

/// The decode part of a plan, uploaded.
struct DecodeWork {
  const DecodeItem* items = nullptr;
  const MergeItem* merges = nullptr;
  std::int32_t item_count = 0;
  std::int32_t merge_count = 0;
  float* workspace = nullptr;  ///< decode_workspace() floats; null if merge_count is 0
};

/// Floats of workspace for a plan with this many partials.
std::int64_t decode_workspace(std::int32_t partials, std::int32_t heads, std::int32_t head_size);

/// Head sizes 64, 80, 96, 128, 256; throws std::invalid_argument for others. One kernel when nothing is to be
/// merged, two otherwise. Items may begin and end anywhere in a context of up to 2^23 positions; slots
/// outside of them are not read. queries.qkv is 16-byte aligned, as are its rows. Rows of `out` without an
/// item are left as they are.
void decode_attention(cudaStream_t stream, const AttentionQueries& queries, const PagedKv& kv,
                      const DeviceBatch& batch, const DecodeWork& work);

/// KV as systems without paging keep it: element d of position p of (sequence, kv head) is at
/// ((sequence * kv_heads + head) * max_length + p) * head_size + d.
struct ContiguousKv {
  const void* keys = nullptr;
  const void* values = nullptr;
  std::int32_t max_length = 0;
  std::int32_t kv_heads = 0;
  std::int32_t head_size = 0;
  DType dtype = DType::f32;
};

/// The same computation with the same split of work; token t of `queries` belongs to sequence t.
void contiguous_decode_attention(cudaStream_t stream, const AttentionQueries& queries, const ContiguousKv& kv,
                                 const DecodeWork& work);

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
