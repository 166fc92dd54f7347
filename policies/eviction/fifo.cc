// First in, first out: the content that was cached longest ago goes first, however often it was used. One
// that was in use when its turn came goes as soon as it can.
#include "core/policy_registry.h"
#include "policies/eviction/entry_list.h"

namespace pagelab {
namespace {

class Fifo final : public EvictionPolicy {
 public:
  void start(const CacheView& cache, ForgottenEntries&) override {
    cache_ = &cache;
    order_ = EntryLists(cache.entries(), 1);
  }
  void insert(CacheEntry entry) override { order_.push_back(0, entry); }
  void touch(CacheEntry) override {}
  void release(CacheEntry entry) override { order_.unpark(entry); }
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

void register_eviction_fifo(PolicyRegistry& registry) {
  registry.add<EvictionPolicy, Fifo>({.name = "fifo",
                                      .summary = "the block that was cached first",
                                      .source = "Belady, A study of replacement algorithms (1966)"});
}

}  // namespace pagelab
