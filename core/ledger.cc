// The ledger: where every slot of the device pool is, counted from two sides. The pool knows which slots are
// filled and which blocks are free; the tables of the running sequences tell what the rest of their blocks is
// kept for. That the two sides add up to the pool is checked on every step.
#include <algorithm>

#include "core/kv_manager.h"

namespace pagelab {

namespace {

/// Empty slots of allocated blocks, by what they are kept for.
struct EmptySlots {
  std::int64_t reserved = 0;
  std::int64_t internal = 0;

  /// Slots [from, to) of a sequence that grows to `end` at most.
  void add(std::int64_t from, std::int64_t to, std::int64_t end) {
    const std::int64_t never_used = std::clamp(end, from, to);
    reserved += never_used - from;
    internal += to - never_used;
  }
};

/// The runs of sequences that are still to come.
void add_spare(EmptySlots& empty, std::span<SequenceGroup* const> running, std::int64_t block_size) {
  for (const SequenceGroup* group : running) {
    for (const std::vector<BlockId>& table : group->spare) {
      empty.add(0, static_cast<std::int64_t>(table.size()) * block_size, group->final_length().value());
    }
  }
}

}  // namespace

SlotLedger KvManager::ledger(std::span<SequenceGroup* const> running) {
  SlotLedger ledger;
  ledger.total = device_.capacity().value() * block_size_;
  ledger.free = device_.free().value() * block_size_;
  ledger.token = device_.filled();
  new_marks();
  const std::int64_t size = block_size_.value();
  EmptySlots empty;
  for (const SequenceGroup* group : running) {
    const std::int64_t end = group->final_length().value();
    if (group->live.size() == 1) {  // it shares no block: what its table holds beyond its tokens is empty
      const Sequence& sequence = group->live.front();
      empty.add(sequence.computed.value(), static_cast<std::int64_t>(sequence.blocks.size()) * size, end);
      continue;
    }
    for (const Sequence& sequence : group->live) {
      const std::span<const BlockId> table(sequence.blocks);
      for (std::size_t entry = sequence.entry_of(sequence.computed, block_size_); entry < table.size();
           ++entry) {
        const BlockId block = table[entry];
        if (device_.shared(block) && !mark(block)) {
          continue;
        }
        const std::int64_t start = static_cast<std::int64_t>(entry) * size;
        empty.add(start + device_.fill(block).value(), start + size, end);
      }
    }
  }
  if (runs_) {
    add_spare(empty, running, size);
    ledger.free = runs_->free().value() * block_size_;
    ledger.external = device_.free().value() * block_size_ - ledger.free;
  }
  for (const BlockId block : pinned_.blocks()) {
    ledger.cached += device_.shared(block) ? Tokens(0) : device_.fill(block);
  }
  ledger.cached += idle().value() * block_size_;
  ledger.token -= ledger.cached;
  ledger.reserved = Tokens(empty.reserved);
  ledger.internal = Tokens(empty.internal);
  return ledger;
}

}  // namespace pagelab
