// The ledger: where every slot of the device pool is, counted from two sides. The pool knows which slots are
// filled and which blocks are free; the tables of the running sequences tell what the rest of their blocks is
// kept for. That the two sides add up to the pool is checked on every step.
#include <algorithm>

#include "core/kv_manager.h"

namespace pagelab {

SlotLedger KvManager::ledger(std::span<SequenceGroup* const> running) {
  SlotLedger ledger;
  ledger.total = device_.capacity().value() * block_size_;
  ledger.free = device_.free().value() * block_size_;
  ledger.token = device_.filled();
  new_marks();
  const std::int64_t size = block_size_.value();
  std::int64_t reserved = 0;
  std::int64_t internal = 0;
  for (const SequenceGroup* group : running) {
    const std::int64_t end = group->final_length().value();
    for (const Sequence& sequence : group->live) {
      const std::span<const BlockId> table(sequence.blocks);
      for (std::size_t entry = sequence.entry_of(sequence.computed, block_size_); entry < table.size();
           ++entry) {
        const BlockId block = table[entry];
        if (device_.shared(block) && !mark(block)) {
          continue;
        }
        const std::int64_t start = static_cast<std::int64_t>(entry) * size;
        const std::int64_t unused = start + device_.fill(block).value();
        const std::int64_t never_used = std::clamp(end, unused, start + size);
        reserved += never_used - unused;
        internal += start + size - never_used;
      }
    }
  }
  if (runs_) {
    add_spare(running, reserved, internal);
    ledger.free = runs_->free().value() * block_size_;
    ledger.external = device_.free().value() * block_size_ - ledger.free;
  }
  for (const BlockId block : pinned_.blocks()) {
    ledger.cached += device_.shared(block) ? Tokens(0) : device_.fill(block);
  }
  ledger.token -= ledger.cached;
  ledger.reserved = Tokens(reserved);
  ledger.internal = Tokens(internal);
  return ledger;
}

void KvManager::add_spare(std::span<SequenceGroup* const> running, std::int64_t& reserved,
                          std::int64_t& internal) const {
  for (const SequenceGroup* group : running) {
    for (const std::vector<BlockId>& table : group->spare) {
      const std::int64_t slots = static_cast<std::int64_t>(table.size()) * block_size_.value();
      const std::int64_t used = std::min(slots, group->final_length().value());
      reserved += used;
      internal += slots - used;
    }
  }
}

}  // namespace pagelab
