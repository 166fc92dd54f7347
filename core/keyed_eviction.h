// KeyedEviction: the small size of an eviction policy, a number per block. Derive from it and say key(); the
// block with the smallest goes first, of equal keys the one whose key was asked for longest ago.
//
// It owns an indexed binary heap over the cached entries: every event takes O(log n) and, after start(), no
// memory. Blocks that evict() meets in use leave the heap until release or expose. It remembers nothing of
// what was evicted.
#pragma once

#include <cstdint>
#include <vector>

#include "core/eviction.h"

namespace pagelab {

/// A cached block. Times are read off a clock of events: it ticks with each insert, touch and release of any
/// block.
struct CachedBlock {
  CacheEntry entry;
  std::int32_t depth = 0;     ///< blocks before it in its prompt
  std::int64_t uses = 0;      ///< since it was cached, the one that cached it included
  std::int64_t last_use = 0;  ///< when it was last inserted, touched or released: now, when key() is asked
  std::int64_t inserted = 0;  ///< when it was cached
};

class KeyedEviction : public EvictionPolicy {
 public:
  void start(const CacheView& cache, ForgottenEntries& forgotten) override;
  void insert(CacheEntry entry) final;
  void touch(CacheEntry entry) final;
  void release(CacheEntry entry) final;
  void expose(CacheEntry entry) final;
  CacheEntry evict() final;

 protected:
  /// Smaller goes first; not NaN, or the run ends with a PolicyError. Asked when the block is inserted,
  /// touched and released, and at no other event: so a key may change then and keeps its value in between.
  virtual double key(const CachedBlock& block) = 0;
  /// Borrowed by start().
  const CacheView& cache() const { return *cache_; }

 private:
  /// Equal keys go by `last_use`, which no two blocks have in common.
  struct Node {
    double key;
    std::int64_t last_use;
    CacheEntry entry;
    bool operator<(const Node& other) const {
      return key < other.key || (key == other.key && last_use < other.last_use);
    }
  };

  void rank(CacheEntry entry);
  void put(std::size_t place, const Node& node);
  void sift_up(std::size_t place, const Node& node);
  void sift_down(std::size_t place, const Node& node);
  void pop();

  const CacheView* cache_ = nullptr;
  std::int64_t now_ = 0;
  std::vector<CachedBlock> blocks_;   ///< by entry
  std::vector<double> keys_;          ///< by entry
  std::vector<std::int32_t> places_;  ///< by entry: where it is in the heap, or -1
  std::vector<Node> heap_;
};

}  // namespace pagelab
