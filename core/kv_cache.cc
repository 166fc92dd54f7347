// The part of the KV manager that caches contents: full blocks of running sequences are listed with the
// prefix cache, waiting groups begin with what is there, and idle blocks are evicted when none is free.
#include <algorithm>

#include <fmt/format.h>

#include "core/error.h"
#include "core/kv_manager.h"

namespace pagelab {

Tokens KvManager::cacheable(const Sequence& sequence) const {
  return sharing_.caches_outputs() ? sequence.computed : std::min(sequence.computed, sequence.prompt);
}

std::span<const TokenId> KvManager::block_tokens(const SequenceGroup& group, const Sequence& sequence,
                                                 std::int64_t block) const {
  const std::int64_t first = block * block_size_.value();
  const std::int64_t end = first + block_size_.value();
  if (end <= sequence.prompt.value()) {
    return std::span(group.request.prompt)
        .subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(end - first));
  }
  tokens_.clear();
  for (std::int64_t position = first; position < end; ++position) {
    tokens_.push_back(group.token(sequence, position));
  }
  return tokens_;
}

void KvManager::look_up(SequenceGroup& group) const {
  Sequence& first = group.live.front();
  // The last known token is always computed: its logits are wanted.
  const auto prompt = std::span<const TokenId>(group.request.prompt);
  PrefixCache::Match found;
  if (first.output.empty()) {
    found = cache_->match(prompt.first(prompt.size() - 1));
  } else {
    tokens_.assign(prompt.begin(), prompt.end());
    tokens_.insert(tokens_.end(), first.output.begin(), first.output.end() - 1);
    found = cache_->match(tokens_);
  }
  first.tip = found.tip;
  first.listed = found.blocks.value();
  first.shared = found.blocks.value() * block_size_;
  first.computed = first.shared;
}

std::optional<std::uint64_t> KvManager::next_content(const SequenceGroup& group) const {
  const Sequence& first = group.live.front();
  if ((first.listed + 1) * block_size_ > first.known()) {
    return std::nullopt;
  }
  return hash_tokens(cache_->chain_hash(first.tip), block_tokens(group, first, first.listed));
}

Blocks KvManager::idle_hits(const SequenceGroup& group) const {
  Blocks idle;
  for (CacheEntry entry = group.live.front().tip; entry != PrefixIndex::root; entry = cache_->parent(entry)) {
    idle += Blocks(cache_->idle(entry) ? 1 : 0);
  }
  return idle;
}

void KvManager::share(SequenceGroup& group) {
  Sequence& first = group.live.front();
  PAGELAB_INVARIANT(group.state == GroupState::waiting && first.blocks.empty(),
                    fmt::format("request {}", group.request.id.value()));
  first.blocks.resize(static_cast<std::size_t>(first.listed));
  CacheEntry entry = first.tip;
  for (std::size_t i = first.blocks.size(); i-- > 0; entry = cache_->parent(entry)) {
    first.blocks[i] = cache_->block(entry);
    device_.retain(first.blocks[i]);
  }
  cache_->use_all(first.tip);
}

bool KvManager::has_unlisted(const SequenceGroup& group) const {
  return std::ranges::any_of(group.live, [this](const Sequence& sequence) {
    return (sequence.listed + 1) * block_size_ <= cacheable(sequence);
  });
}

void KvManager::list_blocks(SequenceGroup& group) {
  for (Sequence& sequence : group.live) {
    for (; (sequence.listed + 1) * block_size_ <= cacheable(sequence); ++sequence.listed) {
      const std::span<const TokenId> tokens = block_tokens(group, sequence, sequence.listed);
      BlockId& own = sequence.blocks[static_cast<std::size_t>(sequence.listed)];
      if (const auto known = cache_->find(sequence.tip, tokens)) {
        if (const BlockId cached = cache_->block(*known); cached != own) {
          device_.retain(cached);
          cache_->use(*known);
          device_.release(own);
          own = cached;
        }
        sequence.tip = *known;
      } else {
        sequence.tip = cache_->insert(sequence.tip, tokens, own);
        device_.retain(own);
      }
    }
  }
}

void KvManager::evict_for(SequenceGroup& group) {
  if (cache_->idle() == Blocks(0)) {
    return;
  }
  device_.release(cache_->evict());
  evicted_.push_back(
      {.kind = DecisionKind::evict, .group = &group, .tokens = block_size_, .reason = "no block is free"});
}

Blocks KvManager::blocks_made_idle(const SequenceGroup& group) const {
  uses_.resize(static_cast<std::size_t>(device_.capacity().value()), 0);
  for (const Sequence& sequence : group.live) {
    for (const BlockId block : sequence.blocks) {
      ++uses_[block.index()];
    }
  }
  Blocks idle;
  for (const Sequence& sequence : group.live) {
    for (const BlockId block : sequence.blocks) {
      const std::int32_t kept = cache_->holds(block) ? 1 : 0;
      idle += Blocks(
          uses_[block.index()] > 0 && uses_[block.index()] + kept == device_.references(block) ? 1 : 0);
      uses_[block.index()] = 0;
    }
  }
  return idle;
}

}  // namespace pagelab
