// Where the K and V of a partition of a sequence's context lie, found through its block table. Internal to
// the CPU backend's attention.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/cpu/kv_cache.h"
#include "kernels/cpu/paged_attention_kernels.h"

namespace pagelab::kernels::cpu {

/// Partition `partition` of a context of `context` slots; `table` are the sequence's blocks.
inline void locate_partition(const KvCache& cache, std::int32_t layer, const std::int32_t* table,
                             std::int32_t partition, std::int32_t context, PartitionAddresses& addresses) {
  const std::int32_t block_size = cache.shape().block_size;
  const auto element = static_cast<std::ptrdiff_t>(size_of(cache.shape().dtype));
  const std::int32_t begin = partition * kPartitionTokens;
  const std::int32_t end = std::min(begin + kPartitionTokens, context);
  if (cache.mapped()) {
    const std::byte* keys = cache.sequence_keys(layer, *table);
    const std::byte* values = cache.sequence_values(layer, *table);
    for (std::int32_t slot = begin; slot < end; ++slot) {
      addresses.keys[slot - begin] = keys + cache.key_offset(0, slot) * element;
      addresses.values[slot - begin] = values + cache.value_offset(0, slot) * element;
    }
    return;
  }
  for (std::int32_t slot = begin; slot < end;) {
    const std::int32_t block = table[slot / block_size];
    const auto* keys = cache.keys(layer, block);
    const auto* values = cache.values(layer, block);
    const std::int32_t block_end = std::min(end, (slot / block_size + 1) * block_size);
    for (; slot < block_end; ++slot) {
      addresses.keys[slot - begin] = keys + cache.key_offset(0, slot % block_size) * element;
      addresses.values[slot - begin] = values + cache.value_offset(0, slot % block_size) * element;
    }
  }
}

}  // namespace pagelab::kernels::cpu
