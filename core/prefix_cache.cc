#include "core/prefix_cache.h"

#include <algorithm>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include "core/error.h"

namespace pagelab {

namespace {

[[noreturn]] void broken(const std::string& rule) {
  throw BrokenRule("eviction", rule);
}

template <class Call>
auto ask(Call&& call) {
  return ask_policy("eviction", std::forward<Call>(call));
}

/// Contents to remember, at most; as many as there are blocks of any pool is enough for everybody.
std::int64_t remembered_by(const EvictionPolicy& eviction, Blocks capacity) {
  const Blocks most = ask([&] { return eviction.remembers(capacity); });
  if (most < Blocks(0) || most.value() > std::numeric_limits<std::int32_t>::max() - capacity.value()) {
    broken(fmt::format("it remembers {} evicted blocks at most", most.value()));
  }
  return most.value();
}

}  // namespace

PrefixCache::PrefixCache(std::unique_ptr<PrefixIndex> index, EvictionPolicy& eviction, Blocks capacity)
    : index_(std::move(index)),
      eviction_(eviction),
      leaves_first_(index_->leaves_first()),
      remembers_(remembered_by(eviction, capacity)),
      entries_(static_cast<std::size_t>(capacity.value() + remembers_)),
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
    require_cached(path_[i]);
    entries_[path_[i].index()].parent = i == 0 ? PrefixIndex::root : path_[i - 1];
  }
  return path_.empty() ? Match{} : Match{path_.back(), Blocks(static_cast<std::int64_t>(path_.size()))};
}

void PrefixCache::require_cached(CacheEntry entry) const {
  if (!is_cached(entry)) {
    throw BrokenRule("sharing", fmt::format("its index finds entry {}, which is not cached", entry.value()));
  }
}

void PrefixCache::forget_ghosts() {
  while (!forgotten_.empty()) {
    const CacheEntry entry = forgotten_.take();
    if (entry.value() < 0 || entry.value() >= view_.entries() || !entries_[entry.index()].remembered) {
      broken(fmt::format("it forgets entry {}, which it does not remember", entry.value()));
    }
    Entry& ghost = entries_[entry.index()];
    ghost.remembered = false;
    remembered_.erase(ghost.chain);
    free_.push_back(entry);
  }
}

CacheEntry PrefixCache::entry_for(std::uint64_t chain) {
  if (remembers_ > 0) {
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
    broken(fmt::format("it remembers more evicted blocks than it said it would ({})", remembers_));
  }
  const CacheEntry entry = free_.back();
  free_.pop_back();
  return entry;
}

std::optional<CacheEntry> PrefixCache::find(CacheEntry parent, std::span<const TokenId> block) {
  const auto entry = index_->find(parent, block);
  if (entry) {
    require_cached(*entry);
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
  if (!is_cached(victim)) {
    broken(fmt::format("it chose entry {}, which is not cached", victim.value()));
  }
  if (!view_.evictable(victim)) {
    broken(fmt::format("it chose entry {}, which is in use", victim.value()));
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
  if (remembers_ > 0) {
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
