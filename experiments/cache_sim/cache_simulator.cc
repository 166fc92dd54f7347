#include "experiments/cache_sim/cache_simulator.h"

#include <algorithm>
#include <chrono>

#include <fmt/format.h>

#include "core/error.h"

namespace pagelab {

/// The cache during one run. An entry is handed out only if no free one was used before, so there are no more
/// of them than contents.
class CacheSimulator::Cache {
 public:
  Cache(CacheSimulator& owner, EvictionPolicy& policy, Blocks capacity)
      : policy_(policy),
        next_use_(owner.next_use_),
        capacity_(capacity.value()),
        remembers_(policy.remembers(capacity) > Blocks(0)),
        place_of_(static_cast<std::size_t>(owner.trace_.distinct), kUnknown),
        facts_(static_cast<std::size_t>(
            std::min((capacity + policy.remembers(capacity)).value(), owner.trace_.distinct))),
        content_of_(facts_.size()),
        view_(capacity, facts_) {
    free_.reserve(facts_.size());
    forgotten_.reserve(facts_.size());
    policy_.start(view_, forgotten_);
  }

  /// Whether the content was cached. `next`: the place of its next reference.
  bool reference(std::uint32_t content, std::int32_t depth, std::int64_t next) {
    const std::int32_t place = place_of_[content];
    if (place >= 0) {
      next_use_[static_cast<std::size_t>(place)] = next;
      policy_.touch(CacheEntry(place));
      return true;
    }
    cache(content, depth, next);
    return false;
  }
  std::int64_t evictions() const { return evictions_; }

 private:
  /// A content's place is its entry where it is cached, -2 - entry where it is remembered.
  static constexpr std::int32_t kUnknown = -1;
  static std::int32_t ghost(CacheEntry entry) { return -2 - entry.value(); }
  std::int32_t& place_of(CacheEntry entry) { return place_of_[content_of_[entry.index()]]; }

  void cache(std::uint32_t content, std::int32_t depth, std::int64_t next) {
    CacheEntry entry = recalled(content);
    if (cached_ == capacity_) {
      evict();
    }
    if (entry == kNone) {
      entry = unused();
    }
    place_of_[content] = entry.value();
    content_of_[entry.index()] = content;
    facts_[entry.index()].depth = depth;
    next_use_[entry.index()] = next;
    ++cached_;
    policy_.insert(entry);
  }

  /// The entry of a content that the policy remembers, which then is no ghost any more; else kNone.
  CacheEntry recalled(std::uint32_t content) {
    if (place_of_[content] == kUnknown) {
      return kNone;
    }
    const CacheEntry entry(-2 - place_of_[content]);
    policy_.recall(entry);
    place_of_[content] = kUnknown;
    forget_ghosts();
    return entry;
  }

  CacheEntry unused() {
    if (!free_.empty()) {
      const CacheEntry entry = free_.back();
      free_.pop_back();
      return entry;
    }
    if (used_ == view_.entries()) {
      throw PolicyError("more evicted blocks are remembered than remembers() says");
    }
    return CacheEntry(used_++);
  }

  void evict() {
    const CacheEntry victim = policy_.evict();
    if (victim.value() < 0 || victim.value() >= used_ || place_of(victim) != victim.value()) {
      throw PolicyError(fmt::format("evict() chose entry {}, which is not cached", victim.value()));
    }
    --cached_;
    ++evictions_;
    if (remembers_) {
      place_of(victim) = ghost(victim);
      forget_ghosts();
    } else {
      place_of(victim) = kUnknown;
      free_.push_back(victim);
    }
  }

  void forget_ghosts() {
    while (!forgotten_.empty()) {
      const CacheEntry entry = forgotten_.take();
      if (entry.value() < 0 || entry.value() >= used_ || place_of(entry) != ghost(entry)) {
        throw PolicyError(fmt::format("entry {} is forgotten, but it is not remembered", entry.value()));
      }
      place_of(entry) = kUnknown;
      free_.push_back(entry);
    }
  }

  static constexpr CacheEntry kNone{-1};

  EvictionPolicy& policy_;
  std::vector<std::int64_t>& next_use_;
  std::int64_t capacity_;
  bool remembers_;
  std::vector<std::int32_t> place_of_;  ///< by content
  std::vector<CacheView::Facts> facts_;
  std::vector<std::uint32_t> content_of_;  ///< by entry
  CacheView view_;
  ForgottenEntries forgotten_;
  std::vector<CacheEntry> free_;
  std::int32_t used_ = 0;  ///< entries that were handed out once
  std::int64_t cached_ = 0;
  std::int64_t evictions_ = 0;
};

CacheSimulator::CacheSimulator(const BlockTrace& trace)
    : trace_(trace),
      next_(trace.contents.size(), Future::never),
      next_use_(static_cast<std::size_t>(trace.distinct)),
      future_(next_use_) {
  std::vector<std::int64_t> seen(static_cast<std::size_t>(trace.distinct), Future::never);
  for (std::size_t i = trace.contents.size(); i-- > 0;) {
    next_[i] = seen[trace.contents[i]];
    seen[trace.contents[i]] = static_cast<std::int64_t>(i);
  }
}

CacheSimResult CacheSimulator::run(EvictionPolicy& policy, Blocks capacity) {
  Cache cache(*this, policy, capacity);
  const std::size_t references = trace_.contents.size();
  std::int64_t hits = 0;
  const auto start = std::chrono::steady_clock::now();
  std::size_t i = 0;
  for (const std::int64_t end : trace_.prompt_ends) {
    bool served = true;
    for (std::int32_t depth = 0; i < static_cast<std::size_t>(end); ++i, ++depth) {
      const bool cached = cache.reference(trace_.contents[i], depth, next_[i]);
      served = served && cached;
      hits += served ? 1 : 0;
    }
  }
  for (; i < references; ++i) {
    hits += cache.reference(trace_.contents[i], 0, next_[i]) ? 1 : 0;
  }
  const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - start;
  const auto count = static_cast<std::int64_t>(references);
  return {
      .references = count, .misses = count - hits, .evictions = cache.evictions(), .seconds = wall.count()};
}

double served_share(const BlockTrace& trace, const CacheSimResult& result) {
  const Tokens served = trace.block_tokens * (result.references - result.misses);
  return static_cast<double>(served.value()) / static_cast<double>(trace.prompt_tokens.value());
}

}  // namespace pagelab
