// CLOCK with one bit: first in, first out, but a content that was used since the hand last passed it gets
// another round (Corbato, A paging experiment with the Multics system, 1968).
#include <vector>

#include "core/policy_registry.h"
#include "policies/eviction/entry_list.h"

namespace pagelab {
namespace {

class Clock final : public EvictionPolicy {
 public:
  void start(const CacheView& cache, ForgottenEntries&) override {
    cache_ = &cache;
    order_ = EntryLists(cache.entries(), 1);
    used_.assign(static_cast<std::size_t>(cache.entries()), 0);
  }
  void insert(CacheEntry entry) override {
    order_.push_back(0, entry);
    used_[entry.index()] = 0;
  }
  void touch(CacheEntry entry) override { used_[entry.index()] = 1; }
  void release(CacheEntry entry) override { order_.unpark(entry); }
  void expose(CacheEntry entry) override { order_.unpark(entry); }
  CacheEntry evict() override {
    for (;;) {
      const CacheEntry entry = order_.front(0);
      if (used_[entry.index()] != 0) {
        used_[entry.index()] = 0;
        order_.move_to_back(0, entry);
      } else if (!cache_->evictable(entry)) {
        order_.park(entry);
      } else {
        order_.remove(entry);
        return entry;
      }
    }
  }

 private:
  const CacheView* cache_ = nullptr;
  EntryLists order_;  ///< from the hand on
  std::vector<std::uint8_t> used_;
};

}  // namespace

void register_eviction_clock(PolicyRegistry& registry) {
  registry.add<EvictionPolicy, Clock>(
      {.name = "clock",
       .summary = "the first in that was not used since the hand passed it",
       .source = "Corbato, A paging experiment with the Multics system (1968); one bit"});
}

}  // namespace pagelab
