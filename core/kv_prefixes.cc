// The part of the KV manager that keeps prefixes which requests declare as shared (PagedAttention paper,
// section 4.4): the first group that computed such a prefix leaves its whole blocks behind, one more
// reference on each.
#include <algorithm>

#include "core/kv_manager.h"

namespace pagelab {

void KvManager::accept(SequenceGroup& group) {
  largest_need_ = std::max(largest_need_, blocks_at_most(group));
  begin_with_prefix(group);
}

void KvManager::begin_with_prefix(SequenceGroup& group) const {
  Sequence& first = group.live.front();
  if (group.live.size() > 1 || first.most_computed > Tokens(0)) {
    return;
  }
  const std::span<const BlockId> prefix = pinned_.match(group.request.prompt);
  first.shared = static_cast<std::int64_t>(prefix.size()) * block_size_;
  first.computed = first.shared;
}

Blocks KvManager::declared_prefix(const SequenceGroup& group) const {
  const Tokens longest(static_cast<std::int64_t>(group.request.prompt.size()) - 1);
  return Blocks(std::min(group.request.shared_prefix, longest) / block_size_);
}

bool KvManager::may_pin(const SequenceGroup& group) const {
  const Blocks prefix = declared_prefix(group);
  const Sequence& first = group.live.front();
  const Blocks kept = prefix + pinned();
  return sharing_.pins_prefixes() && prefix > Blocks(0) && first.computed >= prefix.value() * block_size_ &&
         Blocks(static_cast<std::int64_t>(pinned_.match(group.request.prompt).size())) < prefix &&
         kept + largest_need_ <= device_.capacity();
}

void KvManager::pin_prefix(const SequenceGroup& group) {
  const auto blocks = static_cast<std::size_t>(declared_prefix(group).value());
  const std::span<const BlockId> table = std::span(group.live.front().blocks).first(blocks);
  const auto tokens = blocks * static_cast<std::size_t>(block_size_.value());
  for (const BlockId block : pinned_.add(std::span(group.request.prompt).first(tokens), table)) {
    device_.retain(block);
  }
}

}  // namespace pagelab
