#include "kernels/cpu/block_copy.h"

#include <cstring>

namespace pagelab::kernels::cpu {
namespace {

void move_blocks(KvCache& cache, ThreadPool& pool, std::span<const BlockCopy> copies, KvCache::Tier from,
                 KvCache::Tier to) {
  pool.for_each(static_cast<std::int64_t>(copies.size()), [&](std::int64_t item, int) {
    const BlockCopy& copy = copies[static_cast<std::size_t>(item)];
    std::memcpy(cache.block(to, copy.target), cache.block(from, copy.source), cache.block_bytes());
  });
}

}  // namespace

void copy_blocks(KvCache& cache, ThreadPool& pool, std::span<const BlockCopy> copies) {
  move_blocks(cache, pool, copies, KvCache::Tier::device, KvCache::Tier::device);
}

void swap_out(KvCache& cache, ThreadPool& pool, std::span<const BlockCopy> copies) {
  move_blocks(cache, pool, copies, KvCache::Tier::device, KvCache::Tier::host);
}

void swap_in(KvCache& cache, ThreadPool& pool, std::span<const BlockCopy> copies) {
  move_blocks(cache, pool, copies, KvCache::Tier::host, KvCache::Tier::device);
}

}  // namespace pagelab::kernels::cpu
