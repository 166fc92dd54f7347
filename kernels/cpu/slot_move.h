// Moves single tokens' K and V (all layers at once) from slot to slot of the device tier, where a sequence
// that does not keep all tokens is packed into fewer blocks. Owns nothing.
#pragma once

#include <span>

#include "kernels/cpu/kv_cache.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/ops.h"

namespace pagelab::kernels::cpu {

/// No slot may be both a source and a target, nor a target twice.
void move_slots(KvCache& cache, ThreadPool& pool, std::span<const SlotMove> moves);

}  // namespace pagelab::kernels::cpu
