#include "kernels/cpu/slot_move.h"

#include <algorithm>
#include <cstdint>

namespace pagelab::kernels::cpu {

namespace {

/// One layer of one token; T has the size of the cache's type.
template <class T>
void move_token(KvCache& cache, std::int32_t layer, const SlotMove& move) {
  const KvShape& shape = cache.shape();
  const std::int32_t size = shape.block_size;
  const auto* from_keys = reinterpret_cast<const T*>(cache.keys(layer, move.source / size));
  const auto* from_values = reinterpret_cast<const T*>(cache.values(layer, move.source / size));
  auto* to_keys = reinterpret_cast<T*>(cache.keys(layer, move.target / size));
  auto* to_values = reinterpret_cast<T*>(cache.values(layer, move.target / size));
  const std::int32_t from = move.source % size;
  const std::int32_t to = move.target % size;
  const std::ptrdiff_t width = cache.tile_width();
  for (std::int32_t head = 0; head < shape.kv_heads; ++head) {
    const T* from_key = from_keys + cache.key_offset(head, from);
    T* to_key = to_keys + cache.key_offset(head, to);
    for (std::int32_t d = 0; d < shape.head_size; ++d) {
      to_key[d * width] = from_key[d * width];
    }
    std::copy_n(from_values + cache.value_offset(head, from), shape.head_size,
                to_values + cache.value_offset(head, to));
  }
}

}  // namespace

void move_slots(KvCache& cache, ThreadPool& pool, std::span<const SlotMove> moves) {
  const std::int64_t layers = cache.shape().layers;
  pool.for_each(static_cast<std::int64_t>(moves.size()) * layers, [&](std::int64_t item, int) {
    const SlotMove& move = moves[static_cast<std::size_t>(item / layers)];
    const auto layer = static_cast<std::int32_t>(item % layers);
    if (size_of(cache.shape().dtype) == sizeof(float)) {
      move_token<std::uint32_t>(cache, layer, move);
    } else {
      move_token<std::uint16_t>(cache, layer, move);
    }
  });
}

}  // namespace pagelab::kernels::cpu
