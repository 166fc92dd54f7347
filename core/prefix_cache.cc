#include "core/prefix_cache.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/error.h"

namespace pagelab {

namespace {

std::size_t entries_for(Blocks capacity, const EvictionPolicy& eviction) {
  return static_cast<std::size_t>((capacity + eviction.remembers(capacity)).value());
}

/// Calls the policy and turns what it throws into a PolicyError.
template <class Call>
auto ask(Call&& call) {
  try {
    return call();
  } catch (const PolicyError&) {
    throw;
  } catch (const std::exception& error) {
    throw PolicyError(fmt::format("the eviction policy threw '{}'", error.what()));
  }
}

}  // namespace

PrefixCache::PrefixCache(std::unique_ptr<PrefixIndex> index, EvictionPolicy& eviction, Blocks capacity)
    : index_(std::move(index)),
      eviction_(eviction),
      leaves_first_(index_->leaves_first()),
      remembers_(eviction.remembers(capacity) > Blocks(0)),
      entries_(entries_for(capacity, eviction)),
      facts_(entries_.size()),
      view_(capacity, facts_),
      entry_of_(static_cast<std::size_t>(capacity.value()), PrefixIndex::root) {
  forgotten_.reserve(entries_.size());
  free_.reserve(entries_.size());
  for (std::size_t i = entries_.size(); i-- > 0;) {
    free_.push_back(CacheEntry(static_cast<std::int32_t>(i)));
  }
  ask([&] { eviction_.start(view_, forgotten_); });
}

PrefixCache::Match PrefixCache::match(std::span<const TokenId> tokens) {
  path_.clear();
  index_->match(tokens, path_);
  for (std::size_t i = 0; i < path_.size();
       ++i) {  // what an orphan stands behind may be back under another entry
    entries_[path_[i].index()].parent = i == 0 ? PrefixIndex::root : path_[i - 1];
  }
  return path_.empty() ? Match{} : Match{path_.back(), Blocks(static_cast<std::int64_t>(path_.size()))};
}

void PrefixCache::forget_ghosts() {
  while (!forgotten_.empty()) {
    const CacheEntry entry = forgotten_.take();
    Entry& ghost = entries_[entry.index()];
    if (!ghost.remembered) {
      throw PolicyError(
          fmt::format("the eviction policy forgets entry {}, which it does not remember", entry.value()));
    }
    ghost.remembered = false;
    remembered_.erase(ghost.chain);
    free_.push_back(entry);
  }
}

CacheEntry PrefixCache::entry_for(std::uint64_t chain) {
  if (remembers_) {
    forget_ghosts();
    if (const auto ghost = remembered_.find(chain); ghost != remembered_.end()) {
      const CacheEntry entry = ghost->second;
      ask([&] { eviction_.recall(entry); });
      forget_ghosts();
      if (entries_[entry.index()].remembered) {
        entries_[entry.index()].remembered = false;
        remembered_.erase(chain);
        return entry;
      }
    }
  }
  if (free_.empty()) {
    throw PolicyError(
        fmt::format("the eviction policy remembers more evicted blocks than it said it would ({})",
                    eviction_.remembers(view_.capacity()).value()));
  }
  const CacheEntry entry = free_.back();
  free_.pop_back();
  return entry;
}

std::optional<CacheEntry> PrefixCache::find(CacheEntry parent, std::span<const TokenId> block) {
  const auto entry = index_->find(parent, block);
  if (entry) {
    entries_[entry->index()].parent = parent;
  }
  return entry;
}

CacheEntry PrefixCache::insert(CacheEntry parent, std::span<const TokenId> tokens, BlockId block) {
  const std::uint64_t chain = hash_tokens(chain_hash(parent), tokens);
  const CacheEntry entry = entry_for(chain);
  entries_[entry.index()] = {.parent = parent, .block = block, .chain = chain, .used = true};
  facts_[entry.index()].depth = parent == PrefixIndex::root ? 0 : facts_[parent.index()].depth + 1;
  hold(entry);
  if (leaves_first_ && parent != PrefixIndex::root) {
    hold(parent);
  }
  entry_of_[block.index()] = entry;
  cached_ += Blocks(1);
  evicted_then_needed_ += static_cast<std::int64_t>(evicted_.erase(chain));
  index_->insert(parent, tokens, entry);
  ask([&] { eviction_.insert(entry); });
  return entry;
}

void PrefixCache::use(CacheEntry entry) {
  Entry& used = entries_[entry.index()];
  if (!used.used) {
    used.used = true;
    idle_ -= Blocks(1);
    hold(entry);
  }
  ask([&] { eviction_.touch(entry); });
}

void PrefixCache::use_all(CacheEntry tip) {
  path_.clear();
  for (CacheEntry entry = tip; entry != PrefixIndex::root; entry = parent(entry)) {
    path_.push_back(entry);
  }
  if (!leaves_first_) {
    std::reverse(path_.begin(), path_.end());
  }
  for (const CacheEntry entry : path_) {
    use(entry);
  }
}

void PrefixCache::rest(CacheEntry entry) {
  entries_[entry.index()].used = false;
  idle_ += Blocks(1);
  drop_hold(entry);
  ask([&] { eviction_.release(entry); });
}

BlockId PrefixCache::evict() {
  const CacheEntry victim = ask([&] { return eviction_.evict(); });
  if (victim.value() < 0 || victim.value() >= view_.entries() || entries_[victim.index()].block.value() < 0) {
    throw PolicyError(fmt::format("the eviction policy chose entry {}, which is not cached", victim.value()));
  }
  if (!view_.evictable(victim)) {
    throw PolicyError(fmt::format("the eviction policy chose entry {}, which is in use", victim.value()));
  }
  Entry& evicted = entries_[victim.index()];
  const BlockId block = evicted.block;
  index_->erase(victim);
  evicted.block = BlockId(-1);
  entry_of_[block.index()] = PrefixIndex::root;
  cached_ -= Blocks(1);
  idle_ -= Blocks(1);
  ++evictions_;
  evicted_.insert(evicted.chain);
  if (leaves_first_ && evicted.parent != PrefixIndex::root && drop_hold(evicted.parent)) {
    ask([&] { eviction_.expose(evicted.parent); });
  }
  if (remembers_) {
    evicted.remembered = true;
    remembered_.emplace(evicted.chain, victim);
    forget_ghosts();
  } else {
    free_.push_back(victim);
  }
  return block;
}

std::vector<BlockId> PrefixCache::blocks() const {
  std::vector<BlockId> blocks;
  for (const Entry& entry : entries_) {
    if (entry.block.value() >= 0) {
      blocks.push_back(entry.block);
    }
  }
  return blocks;
}

void PrefixCache::check_integrity() const {
  index_->check_integrity();
  std::vector<std::int32_t> holds(entries_.size(), 0);
  std::int64_t cached = 0;
  std::int64_t idle = 0;
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    const Entry& entry = entries_[i];
    if (entry.block.value() < 0) {
      continue;
    }
    ++cached;
    idle += entry.used ? 0 : 1;
    holds[i] += entry.used ? 1 : 0;
    PAGELAB_INVARIANT(entry_of_[entry.block.index()].index() == i,
                      fmt::format("block {} is not entry {}'s", entry.block.value(), i));
    if (leaves_first_ && entry.parent != PrefixIndex::root) {
      PAGELAB_INVARIANT(entries_[entry.parent.index()].block.value() >= 0,
                        fmt::format("entry {} is cached behind one that is not", i));
      ++holds[entry.parent.index()];
    }
  }
  PAGELAB_INVARIANT(cached == cached_.value() && idle == idle_.value(),
                    fmt::format("{} entries cached, {} counted; {} idle, {} counted", cached, cached_.value(),
                                idle, idle_.value()));
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    PAGELAB_INVARIANT(entries_[i].block.value() < 0 || holds[i] == facts_[i].holds,
                      fmt::format("entry {}: {} holds, {} counted", i, holds[i], facts_[i].holds));
  }
}

}  // namespace pagelab
