#include "models/shard.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/error.h"
#include "models/family.h"

namespace pagelab {
namespace {

void require_division(const ModelShape& shape, std::int32_t number, std::int32_t gpus, const char* what) {
  if (number % gpus != 0) {
    throw InputError(
        fmt::format("device.gpus: {} devices cannot divide the {} {} of {}", gpus, number, what, shape.name));
  }
}

}  // namespace

Shard shard_of(const ModelShape& shape, std::int32_t gpus) {
  require_division(shape, shape.heads, gpus, "heads");
  require_division(shape, shape.ffn, gpus, "feed-forward columns");
  if (shape.kv_heads > gpus || gpus % shape.kv_heads != 0) {
    require_division(shape, shape.kv_heads, gpus, "KV heads");
  }
  Shard shard{.gpus = gpus,
              .heads = shape.heads / gpus,
              .kv_heads = std::max(1, shape.kv_heads / gpus),
              .ffn = shape.ffn / gpus,
              .vocab = (shape.vocab + gpus - 1) / gpus};
  shard.query_width = shard.heads * shape.head_size;
  shard.kv_width = shard.kv_heads * shape.head_size;
  shard.qkv_width = shard.query_width + 2 * shard.kv_width;
  return shard;
}

std::int64_t Shard::parameters(const ModelShape& shape) const {
  const Family& family = *shape.family;
  const std::int64_t hidden = shape.hidden;
  const std::int64_t norm = family.norm_vectors * hidden;
  const std::int64_t attention = hidden * qkv_width + query_width * hidden;
  const std::int64_t feed_forward = (family.gated ? 3 : 2) * hidden * ffn;
  const std::int64_t biases = shape.biases ? qkv_width + ffn + 2 * hidden : 0;
  const std::int64_t tokens = (shape.tied_head ? 1 : 2) * std::int64_t{vocab} * shape.embedding_size;
  const std::int64_t positions = family.rotary ? 0 : (shape.max_positions + family.position_padding) * hidden;
  const std::int64_t projections = shape.embedding_size == hidden ? 0 : 2 * hidden * shape.embedding_size;
  return tokens + positions + projections + (shape.pre_norm ? norm : 0) +
         shape.layers * (attention + feed_forward + biases + 2 * norm);
}

std::int64_t Shard::kv_bytes_per_layer(kernels::DType dtype) const {
  return std::int64_t{2} * kv_width * static_cast<std::int64_t>(kernels::size_of(dtype));
}

}  // namespace pagelab
