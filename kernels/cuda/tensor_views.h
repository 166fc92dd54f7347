// What kernel launchers are given: device pointers with their shapes. Plain values, made by the host, passed
// to kernels as they are. Nothing here owns memory.
#pragma once

#include <cstdint>

#include "kernels/ops.h"

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {

/// K and V of one layer in the device pool. Element d of the slot `offset` of a block's head is at
/// block * block_stride + (head * block_size + offset) * head_size + d from `keys`, or from `values`; 16-byte
/// aligned for every (block, head, offset), since head_size is a multiple of 8. Slots that hold no token may
/// hold anything, NaN too.
struct PagedKv {
  void* keys = nullptr;
  void* values = nullptr;
  std::int64_t block_stride = 0;  ///< elements from one block to the next
  std::int32_t block_size = 0;
  std::int32_t kv_heads = 0;
  std::int32_t head_size = 0;
  DType dtype = DType::f32;
};

/// The arrays of AttentionBatch in device memory.
struct DeviceBatch {
  const std::int32_t* query_indptr = nullptr;    ///< [sequences + 1]
  const std::int32_t* kv_indptr = nullptr;       ///< [sequences + 1]
  const std::int32_t* kv_indices = nullptr;      ///< physical blocks
  const std::int32_t* last_block_len = nullptr;  ///< [sequences]
  const std::int32_t* positions = nullptr;       ///< [tokens]
  const std::int32_t* slot_mapping = nullptr;    ///< [tokens]
  std::int32_t sequences = 0;
  std::int32_t tokens = 0;
};

/// The queries of a call of attention and where the results go.
struct AttentionQueries {
  const float* qkv = nullptr;   ///< [tokens, qkv_stride]; the first heads * head_size columns of a row are q
  std::int64_t qkv_stride = 0;  ///< floats
  float* out = nullptr;         ///< [tokens, heads * head_size]
  std::int32_t heads = 0;       ///< a multiple of kv_heads
  float scale = 1.0f;           ///< of q * k
};

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
