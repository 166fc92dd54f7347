// Traffic of whole KV blocks (all layers at once): copies on write, and swaps between the tiers. Each block
// is one memcpy; blocks are shared out over the threads. Within one call no block may be both a source and a
// target of the same tier, nor a target twice; the order is then of no matter. Owns nothing.
#pragma once

#include <span>

#include "kernels/cpu/kv_cache.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/ops.h"

namespace pagelab::kernels::cpu {

/// Device -> device.
void copy_blocks(KvCache& cache, ThreadPool& pool, std::span<const BlockCopy> copies);
/// Device -> host.
void swap_out(KvCache& cache, ThreadPool& pool, std::span<const BlockCopy> copies);
/// Host -> device.
void swap_in(KvCache& cache, ThreadPool& pool, std::span<const BlockCopy> copies);

}  // namespace pagelab::kernels::cpu
