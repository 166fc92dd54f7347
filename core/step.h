// The values that pass from function to function in a step: what was decided (Decision, StepPlan), and what
// the step was (StepRecord, one row of steps.csv). Plain data; the plan borrows groups that the engine owns.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "core/group.h"
#include "core/ids.h"

namespace pagelab {

enum class DecisionKind : std::uint8_t {
  share,              ///< a waiting group about to be admitted begins with cached blocks
  admit,              ///< a waiting group gets blocks and tokens
  proceed,            ///< a running group gets tokens
  preempt_recompute,  ///< a running group loses its blocks and goes back to waiting
  preempt_swap,       ///< a running group's blocks move to the host
  swap_in,            ///< a swapped group's blocks come back, and it gets tokens
  copy_on_write,      ///< a sequence about to write into a shared block gets a copy
  fork,               ///< a new sequence shares all blocks of another
  finish,             ///< a sequence ended; its blocks lose an owner
  pin_prefix,         ///< the prefix that a request declares as shared stays for later ones
  cache,              ///< full blocks of a sequence can be shared from now on
  evict,              ///< the content of a cached block is dropped, to be the group's
  drop_tokens,        ///< a sequence at its budget gives up the KV of `tokens` tokens
  trim                ///< a waiting group gives up blocks that it kept when it was preempted
};
std::string_view name_of(DecisionKind kind);

/// One decision. `reason` is a string literal: the policy's, or the rule of the core that forced it.
struct Decision {
  DecisionKind kind{};
  SequenceGroup* group = nullptr;
  std::int32_t sequence = -1;  ///< index into group->live of the sequence meant; -1: the whole group
  Tokens tokens{};  ///< admit, proceed, swap_in: to compute in this step; share, cache, evict: meant
  const char* reason = "";
  bool decoding = false;   ///< the tokens are those drawn last, one per sequence
  bool completes = false;  ///< they are all that is pending: the group's next tokens are drawn
  Blocks blocks{-1};       ///< admit: what its sequences were planned to get; negative: not said
  Blocks keep{};           ///< preempt_recompute, trim: leading blocks that stay in the group's table
};

/// What one step shall do, in the order in which it is applied. What follows (copies on write, forks,
/// finished sequences) is appended as it is done, which makes the plan the decision log.
struct StepPlan {
  std::vector<Decision> decisions;
  bool empty() const { return decisions.empty(); }
  void clear() { decisions.clear(); }
};

/// Where every slot of the device pool is. Every slot is in exactly one state; the sum is the pool (DESIGN,
/// section 5; PagedAttention paper, section 3.1 for the kinds of waste).
struct SlotLedger {
  Tokens total;
  Tokens token;     ///< valid KV, counted once however often it is shared
  Tokens cached;    ///< valid KV that no sequence uses
  Tokens reserved;  ///< allocated, will be filled later
  Tokens internal;  ///< allocated, will never be filled
  Tokens external;  ///< free, but unusable under the allocator
  Tokens free;

  bool balanced() const { return token + cached + reserved + internal + external + free == total; }
};

/// One row of steps.csv: the pool while the step ran (its own tokens included), and what the step did.
struct StepRecord {
  std::int64_t step = 0;
  Seconds time;  ///< when it began
  Seconds duration;
  SlotLedger slots;
  Blocks blocks_logical;   ///< entries of all block tables of running groups
  Blocks blocks_physical;  ///< allocated device blocks
  Blocks host_blocks_used;
  std::int32_t running = 0;  ///< groups, while the step ran
  std::int32_t waiting = 0;
  std::int32_t swapped = 0;
  Tokens tokens_prefill;     ///< computed in chunks: prompts, and recomputation
  Tokens tokens_decode;      ///< computed one per sequence, right after they were drawn
  Tokens tokens_recomputed;  ///< of both: those whose KV had been computed before
  Tokens tokens_hit;         ///< not computed, since the prefix cache had them
  std::int32_t preempt_recompute = 0;
  std::int32_t preempt_swap = 0;
  Blocks blocks_copied;  ///< copy on write
  Bytes bytes_swapped_in;
  Bytes bytes_swapped_out;
  std::int64_t evictions = 0;            ///< cached blocks dropped
  std::int64_t evicted_then_needed = 0;  ///< blocks computed and cached again that had been evicted before
};

/// Whether a decision's tokens are computed in the step.
inline bool computes(const Decision& decision) {
  return decision.tokens > Tokens(0) &&
         (decision.kind == DecisionKind::admit || decision.kind == DecisionKind::proceed ||
          decision.kind == DecisionKind::swap_in);
}

}  // namespace pagelab
