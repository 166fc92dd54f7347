// The eviction axis: which cached block goes first? A prefix cache (core/prefix_cache.h) or `pagelab
// cache-sim` tells the policy what happens to cached contents and asks it for victims. Dense indices cross
// this boundary, never keys or tokens, and whoever drives the policy owns contents, blocks and indices; the
// policy owns its order alone.
//
// In two sizes: derive from KeyedEviction (core/keyed_eviction.h) for an idea that is a number per block,
// from EvictionPolicy for one with lists and ghosts of its own.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/ids.h"

namespace pagelab {

/// A block's content, cached or remembered after its eviction; dense from 0. While a content is remembered it
/// keeps its index, by which a ghost list recognises it.
using CacheEntry = Id<struct CacheEntryTag, std::int32_t>;

/// What an eviction policy may see of the cache. Borrowed from the cache's owner for as long as the policy
/// lives.
class CacheView {
 public:
  struct Facts {
    std::int32_t depth = 0;  ///< blocks before this one in its prompt
    std::int32_t holds = 0;  ///< reasons why it cannot be evicted: users, cached contents that continue it
  };

  CacheView(Blocks capacity, std::span<const Facts> facts) : capacity_(capacity), facts_(facts) {}

  /// Blocks that can be cached at once.
  Blocks capacity() const { return capacity_; }
  /// Entries are 0 .. entries() - 1: capacity() and what the policy remembers.
  std::int32_t entries() const { return static_cast<std::int32_t>(facts_.size()); }
  /// Whether a cached entry may be evicted now.
  bool evictable(CacheEntry entry) const { return facts_[entry.index()].holds == 0; }
  /// Blocks before this one in its prompt: what must be there, too, before it serves anybody.
  std::int32_t depth(CacheEntry entry) const { return facts_[entry.index()].depth; }

 private:
  Blocks capacity_;
  std::span<const Facts> facts_;
};

/// Ghosts that a policy gives up; the cache's owner takes them from here.
class ForgottenEntries {
 public:
  void reserve(std::size_t entries) { entries_.reserve(entries); }
  void add(CacheEntry entry) { entries_.push_back(entry); }
  bool empty() const { return entries_.empty(); }
  CacheEntry take() {
    const CacheEntry entry = entries_.back();
    entries_.pop_back();
    return entry;
  }

 private:
  std::vector<CacheEntry> entries_;
};

/// What is going to be referenced, for policies that no running system can have: they are made by a
/// constructor that takes (const Parameters&, const Future&) and can be used where a whole trace is known
/// (`pagelab cache-sim`).
class Future {
 public:
  static constexpr std::int64_t never = INT64_MAX;

  /// Borrows one number per entry: the place in the trace of its next reference after the one at hand.
  explicit Future(std::span<const std::int64_t> next_use) : next_use_(next_use) {}
  std::int64_t next_use(CacheEntry entry) const { return next_use_[entry.index()]; }

 private:
  std::span<const std::int64_t> next_use_;
};

/// Which cached block goes first?
///
/// A content's life: insert, then any number of touch and release, then it is returned by evict(). A policy
/// that remembers evicted contents keeps their entries until it calls ForgottenEntries::add; if such a
/// content is wanted again, recall comes before the evict() that makes room for it, and insert follows.
///
/// Every event is to take constant or logarithmic time, and no memory after start().
class EvictionPolicy {
 public:
  virtual ~EvictionPolicy() = default;
  /// Evicted contents to remember, at most. The number of ghosts may not be larger when evict() returns. A
  /// policy that remembers none does not call ForgottenEntries::add either: what it evicts is forgotten.
  virtual Blocks remembers(Blocks capacity) const {
    (void)capacity;
    return Blocks(0);
  }
  /// Comes first. Both outlive the policy.
  virtual void start(const CacheView& cache, ForgottenEntries& forgotten) = 0;
  /// The entry's content is cached from now on. It may be one that the policy remembers.
  virtual void insert(CacheEntry entry) = 0;
  /// A cached content is used again.
  virtual void touch(CacheEntry entry) = 0;
  /// The last sequence that used it has let go of it: it may be evictable again.
  virtual void release(CacheEntry entry) { (void)entry; }
  /// The last cached content that continued it was evicted: it may be evictable again.
  virtual void expose(CacheEntry entry) { (void)entry; }
  /// A remembered content is wanted again. insert follows, after evict() if room must be made.
  virtual void recall(CacheEntry entry) { (void)entry; }
  /// The content to evict: cached, and evictable. Called only while there is one. An entry that was found not
  /// to be evictable may be set aside: release or expose will come before it is.
  virtual CacheEntry evict() = 0;
};

}  // namespace pagelab
