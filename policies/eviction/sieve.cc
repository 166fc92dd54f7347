// SIEVE (Zhang et al., NSDI'24, section 3.1 and Algorithm 1): one queue in order of insertion and a hand that
// walks from the oldest to the newest. It spares contents that were used since it last passed them, and a use
// moves nothing; so what is new and not used goes before what proved itself.
//
// What the hand meets in use is looked at next once it can go.
#include <vector>

#include "core/policy_registry.h"
#include "policies/eviction/entry_list.h"

namespace pagelab {
namespace {

class Sieve final : public EvictionPolicy {
 public:
  void start(const CacheView& cache, ForgottenEntries&) override {
    cache_ = &cache;
    queue_ = EntryLists(cache.entries(), 1);
    hand_ = queue_.end(0);
    used_.assign(static_cast<std::size_t>(cache.entries()), 0);
  }
  void insert(CacheEntry entry) override {
    queue_.push_back(0, entry);
    used_[entry.index()] = 0;
  }
  void touch(CacheEntry entry) override { used_[entry.index()] = 1; }
  void release(CacheEntry entry) override { expose(entry); }
  void expose(CacheEntry entry) override {
    if (queue_.is_parked(entry)) {
      queue_.unpark_before(hand_, entry);
      hand_ = entry;
    }
  }
  CacheEntry evict() override {
    for (;;) {
      const CacheEntry entry = hand_ == queue_.end(0) ? queue_.front(0) : hand_;
      hand_ = queue_.next(entry);
      if (used_[entry.index()] != 0) {
        used_[entry.index()] = 0;
      } else if (!cache_->evictable(entry)) {
        queue_.park(entry);
      } else {
        queue_.remove(entry);
        return entry;
      }
    }
  }

 private:
  const CacheView* cache_ = nullptr;
  EntryLists queue_;  ///< oldest first
  CacheEntry hand_;   ///< to be looked at next; the queue's end: its front
  std::vector<std::uint8_t> used_;
};

}  // namespace

void register_eviction_sieve(PolicyRegistry& registry) {
  registry.add<EvictionPolicy, Sieve>(
      {.name = "sieve",
       .summary = "the first not used since a hand that moves nothing passed it",
       .source = "SIEVE (Zhang et al., NSDI'24), section 3.1, Algorithm 1"});
}

}  // namespace pagelab
