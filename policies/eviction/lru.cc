// Least recently used: the content that was used or let go of longest ago goes first.
#include "core/policy_registry.h"
#include "policies/eviction/entry_list.h"

namespace pagelab {
namespace {

class Lru final : public EvictionPolicy {
 public:
  void start(const CacheView& cache, ForgottenEntries&) override {
    cache_ = &cache;
    order_ = EntryLists(cache.entries(), 1);
  }
  void insert(CacheEntry entry) override { order_.push_back(0, entry); }
  void touch(CacheEntry entry) override { order_.move_to_back(0, entry); }
  void release(CacheEntry entry) override { order_.move_to_back(0, entry); }
  void expose(CacheEntry entry) override { order_.unpark(entry); }
  CacheEntry evict() override {
    const CacheEntry oldest = order_.first_evictable(0, *cache_);
    order_.remove(oldest);
    return oldest;
  }

 private:
  const CacheView* cache_ = nullptr;
  EntryLists order_;  ///< oldest first
};

}  // namespace

void register_eviction_lru(PolicyRegistry& registry) {
  registry.add<EvictionPolicy, Lru>(
      {.name = "lru", .summary = "the least recently used block", .source = "vLLM and SGLang's default"});
}

}  // namespace pagelab
