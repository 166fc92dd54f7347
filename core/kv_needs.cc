// The part of the KV manager that tells what a change would take or give back, before it is decided.
#include <algorithm>
#include <limits>

#include <fmt/format.h>

#include "core/error.h"
#include "core/kv_manager.h"

namespace pagelab {

namespace {

/// No pool has more slots.
constexpr std::int64_t most_slots = std::numeric_limits<std::int32_t>::max();

}  // namespace

Blocks KvManager::reserved(const SequenceGroup& group, Tokens known) const {
  const Tokens slots = ask_policy("allocation", [&] { return allocation_.reserve(GroupView(group), known); });
  if (slots < known || slots > Tokens(most_slots)) {
    throw BrokenRule("allocation", fmt::format("it reserves {} slots for {} known tokens of request {}",
                                               slots.value(), known.value(), group.request.id.value()));
  }
  return blocks_for(slots, block_size_);
}

Blocks KvManager::blocks_to_admit(const SequenceGroup& group, Blocks* set_aside) const {
  Blocks all;
  Blocks shared;
  if (runs_) {
    all = reserved(group, group.live.front().known()) * group.width_left();
  } else {
    for (const Sequence& sequence : group.live) {
      all += reserved(group, slots_to_admit(group, sequence));
      shared += std::max(Blocks(static_cast<std::int64_t>(sequence.blocks.size())),
                         blocks_for(sequence.shared, block_size_));
    }
  }
  if (set_aside != nullptr) {
    *set_aside = all;
  }
  return all - shared + (cache_ ? idle_hits(group) : Blocks(0));
}

Blocks KvManager::blocks_to_append_to_all(const SequenceGroup& group, Tokens tokens) const {
  const BlockPool& pool = group.state == GroupState::swapped ? host_ : device_;
  const bool all = tokens == group.pending();
  Blocks sum;
  Tokens left = tokens;
  new_marks();
  for (const Sequence& sequence : group.live) {
    const Tokens share = share_of(sequence, all, left);
    left -= share;
    if (share == Tokens(0)) {
      continue;
    }
    sum += lacking(sequence, share);
    if (group.restoring) {
      continue;
    }
    // All owners of a shared block are in this group and write in this step; all but the last get a copy.
    for (std::size_t entry = first_written(sequence); entry < sequence.blocks.size(); ++entry) {
      const BlockId block = sequence.blocks[entry];
      if (pool.shared(block) && mark(block)) {
        sum += Blocks(pool.references(block) - 1);
      }
    }
  }
  return sum;
}

Blocks KvManager::blocks_held(const SequenceGroup& group) const {
  if (group.live.size() == 1) {
    return Blocks(static_cast<std::int64_t>(group.live.front().blocks.size()));
  }
  Blocks sum;
  new_marks();
  for (const Sequence& sequence : group.live) {
    for (const BlockId block : sequence.blocks) {
      sum += Blocks(mark(block) ? 1 : 0);
    }
  }
  return sum;
}

Blocks KvManager::blocks_freed(const SequenceGroup& group) const {
  return cache_ ? blocks_made_idle(group) : blocks_held(group) - pinned_.leading(group.live.front().blocks);
}

Tokens KvManager::tokens_lost(const SequenceGroup& group) const {
  const Tokens pinned = pinned_.leading(group.live.front().blocks).value() * block_size_;
  if (group.live.size() == 1) {
    return group.live.front().computed - pinned;
  }
  Tokens sum;
  new_marks();
  for (const Sequence& sequence : group.live) {
    for (const BlockId block : sequence.blocks) {
      sum += mark(block) ? device_.fill(block) : Tokens(0);
    }
  }
  return sum - pinned;
}

}  // namespace pagelab
