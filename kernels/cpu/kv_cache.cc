#include "kernels/cpu/kv_cache.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

#include "kernels/cpu/float_convert.h"

namespace pagelab::kernels::cpu {
namespace {

KvShape checked(const KvShape& shape) {
  const auto require = [](bool valid, const char* what) {
    if (!valid) {
      throw std::invalid_argument(std::string("KV cache: ") + what);
    }
  };
  require(shape.layers >= 1, "layers must be at least 1");
  require(shape.kv_heads >= 1, "kv_heads must be at least 1");
  require(shape.head_size >= 8 && shape.head_size <= 256 && shape.head_size % 8 == 0,
          "head_size must be a multiple of 8, at most 256");
  require(shape.block_size >= 1 && shape.block_size <= 256, "block_size must be 1 to 256");
  require(shape.device_blocks >= 0 && shape.host_blocks >= 0, "numbers of blocks must not be negative");
  return shape;
}

float widen(DType type, const std::byte* from) {
  if (type == DType::f32) {
    float value;
    std::memcpy(&value, from, sizeof(value));
    return value;
  }
  std::uint16_t bits;
  std::memcpy(&bits, from, sizeof(bits));
  return type == DType::bf16 ? bf16_to_f32(bits) : f16_to_f32(bits);
}

void round_to(DType type, float value, std::byte* to) {
  if (type == DType::f32) {
    std::memcpy(to, &value, sizeof(value));
    return;
  }
  const std::uint16_t bits = type == DType::bf16 ? f32_to_bf16(value) : f32_to_f16(value);
  std::memcpy(to, &bits, sizeof(bits));
}

/// K and V of one token into its slot; `round` maps f32 to the storage type.
template <class T, class Round>
void write_token(KvCache& cache, std::int32_t layer, const float* k, const float* v, std::int32_t slot,
                 Round round) {
  const KvShape& shape = cache.shape();
  const std::int32_t block = slot / shape.block_size;
  const std::int32_t offset = slot % shape.block_size;
  T* keys = reinterpret_cast<T*>(cache.keys(layer, block));
  T* values = reinterpret_cast<T*>(cache.values(layer, block));
  const std::int32_t width = cache.tile_width();
  for (std::int32_t head = 0; head < shape.kv_heads; ++head) {
    T* key = keys + cache.key_offset(head, offset);
    T* value = values + cache.value_offset(head, offset);
    const float* k_head = k + std::ptrdiff_t{head} * shape.head_size;
    const float* v_head = v + std::ptrdiff_t{head} * shape.head_size;
    for (std::int32_t d = 0; d < shape.head_size; ++d) {
      key[std::ptrdiff_t{d} * width] = round(k_head[d]);
    }
    for (std::int32_t d = 0; d < shape.head_size; ++d) {
      value[d] = round(v_head[d]);
    }
  }
}

}  // namespace

KvCache::KvCache(const KvShape& shape, bool mapped)
    : shape_(checked(shape)),
      tile_width_(shape.block_size % kTileTokens == 0 ? kTileTokens : shape.block_size),
      head_stride_(std::int64_t{mapped ? kTileTokens : shape.block_size} * shape.head_size),
      tile_stride_(std::int64_t{tile_width_} * shape.head_size * (mapped ? shape.kv_heads : 1)),
      layer_bytes_(2 * static_cast<std::size_t>(values_offset()) * size_of(shape.dtype)),
      block_bytes_(layer_bytes_ * static_cast<std::size_t>(shape.layers)),
      device_(mapped ? 0 : block_bytes_ * static_cast<std::size_t>(shape.device_blocks)),
      device_base_(device_.data()),
      host_(block_bytes_ * static_cast<std::size_t>(shape.host_blocks)) {
  if (mapped) {
    if (shape.block_size % kTileTokens != 0) {
      throw std::invalid_argument("KV cache: block_size must be a multiple of 16 where blocks are mapped");
    }
    ranges_ = std::make_unique<SequenceRanges>(shape.device_blocks, 2 * shape.layers, layer_bytes_ / 2);
    device_base_ = ranges_->pool();
    begun_.assign(static_cast<std::size_t>(shape.device_blocks), 0);
  }
}

void KvCache::map(const AttentionBatch& batch) {
  std::ranges::fill(begun_, 0);
  for (std::size_t sequence = 0; sequence + 1 < batch.kv_indptr.size(); ++sequence) {
    const auto first = static_cast<std::size_t>(batch.kv_indptr[sequence]);
    const auto end = static_cast<std::size_t>(batch.kv_indptr[sequence + 1]);
    const auto table = batch.kv_indices.subspan(first, end - first);
    char& begun = begun_[static_cast<std::size_t>(table.front())];
    if (begun != 0) {
      throw std::logic_error("KV cache: two sequences begin with one block, which cannot be mapped for both");
    }
    begun = 1;
    ranges_->map(table);
  }
}

std::byte* KvCache::element(Tier tier, std::int32_t layer, std::int32_t block, std::int64_t index) const {
  return base(tier) + static_cast<std::size_t>(block) * block_bytes_ +
         static_cast<std::size_t>(layer) * layer_bytes_ +
         static_cast<std::size_t>(index) * size_of(shape_.dtype);
}

float KvCache::load_k(Tier tier, std::int32_t layer, std::int32_t block, std::int32_t head,
                      std::int32_t offset, std::int32_t d) const {
  const std::int64_t index = key_offset(head, offset) + std::int64_t{d} * tile_width_;
  return widen(shape_.dtype, element(tier, layer, block, index));
}

float KvCache::load_v(Tier tier, std::int32_t layer, std::int32_t block, std::int32_t head,
                      std::int32_t offset, std::int32_t d) const {
  return widen(shape_.dtype, element(tier, layer, block, values_offset() + value_offset(head, offset) + d));
}

void KvCache::store_k(Tier tier, std::int32_t layer, std::int32_t block, std::int32_t head,
                      std::int32_t offset, std::int32_t d, float value) {
  const std::int64_t index = key_offset(head, offset) + std::int64_t{d} * tile_width_;
  round_to(shape_.dtype, value, element(tier, layer, block, index));
}

void KvCache::store_v(Tier tier, std::int32_t layer, std::int32_t block, std::int32_t head,
                      std::int32_t offset, std::int32_t d, float value) {
  const std::int64_t index = values_offset() + value_offset(head, offset) + d;
  round_to(shape_.dtype, value, element(tier, layer, block, index));
}

void write_kv(KvCache& cache, ThreadPool& pool, std::int32_t layer, Tensor qkv, std::int32_t heads,
              const AttentionBatch& batch) {
  const KvShape& shape = cache.shape();
  // A thread takes neighbouring tokens: they share the cache lines of a K tile.
  constexpr std::int64_t kTokensPerItem = 16;
  const auto tokens = static_cast<std::int64_t>(batch.slot_mapping.size());
  pool.for_each((tokens + kTokensPerItem - 1) / kTokensPerItem, [&](std::int64_t item, int) {
    const std::int64_t end = std::min(tokens, (item + 1) * kTokensPerItem);
    for (std::int64_t token = item * kTokensPerItem; token < end; ++token) {
      const float* k = qkv.row(static_cast<std::int32_t>(token)) + std::ptrdiff_t{heads} * shape.head_size;
      const float* v = k + std::ptrdiff_t{shape.kv_heads} * shape.head_size;
      const std::int32_t slot = batch.slot_mapping[static_cast<std::size_t>(token)];
      switch (shape.dtype) {
        case DType::f32:
          write_token<float>(cache, layer, k, v, slot, [](float value) { return value; });
          break;
        case DType::bf16:
          write_token<std::uint16_t>(cache, layer, k, v, slot, f32_to_bf16);
          break;
        case DType::f16:
          write_token<std::uint16_t>(cache, layer, k, v, slot, f32_to_f16);
          break;
      }
    }
  });
}

}  // namespace pagelab::kernels::cpu
