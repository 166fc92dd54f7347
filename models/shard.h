// Shard: a model's share on one of several devices under tensor parallelism (Megatron-LM, Shoeybi et al.,
// 2019, section 3): heads, feed-forward and vocabulary are divided, the hidden state is whole on each. A
// value.
#pragma once

#include <cstdint>

#include "kernels/ops.h"
#include "models/shape.h"

namespace pagelab {

struct Shard {
  std::int32_t gpus = 1;
  std::int32_t heads = 0;
  std::int32_t kv_heads = 0;  ///< at least 1: devices beyond the number of KV heads hold copies
  std::int32_t ffn = 0;
  std::int32_t vocab = 0;
  std::int32_t query_width = 0;
  std::int32_t kv_width = 0;
  std::int32_t qkv_width = 0;

  /// Numbers in the weights that one device holds: norms, positions and the biases of what is summed over the
  /// devices are on each. Those of the whole model for one device.
  std::int64_t parameters(const ModelShape& shape) const;
  /// K and V of one token in one layer.
  std::int64_t kv_bytes_per_layer(kernels::DType dtype) const;
};

/// Throws InputError if the heads, the KV heads or the feed-forward cannot be divided by `gpus`.
Shard shard_of(const ModelShape& shape, std::int32_t gpus);

}  // namespace pagelab
