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
  ledger.reserved = Tokens(reserved);
  ledger.internal = Tokens(internal);
  return ledger;
}

}  // namespace pagelab
