// Prefetching: a loop over the groups of a step knows which groups come next long before it gets to them, but
// the processor does not, since each one's memory is behind pointers. Asking for it a few groups ahead hides
// the wait. It changes no value.
//
// All of it is inlined always: to the compiler, a call that only prefetches has no effect and can be dropped.
#pragma once

#include <cstddef>

#include "core/group.h"

namespace pagelab {

/// How many groups ahead to ask: enough to cover the wait, few enough to be still there when needed.
inline constexpr std::size_t groups_ahead = 4;

[[gnu::always_inline]] inline void prefetch(const void* memory) {
  __builtin_prefetch(memory);
}

/// What planning reads of a group beside the group itself.
[[gnu::always_inline]] inline void prefetch_sequence(const SequenceGroup& group) {
  prefetch(group.live.data());
}

/// What a group of one sequence touches to grow by a token: the ends of its lists.
[[gnu::always_inline]] inline void prefetch_ends(const SequenceGroup& group) {
  const Sequence* sequence = group.live.data();
  prefetch(sequence->blocks.data() + sequence->blocks.size());
  prefetch(sequence->output.data() + sequence->output.size());
  prefetch(sequence->logprobs.data() + sequence->logprobs.size());
}

}  // namespace pagelab
