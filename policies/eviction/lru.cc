// Least recently used: the content that was used or let go of longest ago goes first.
#include <optional>

#include "core/policy_registry.h"
#include "policies/eviction/entry_list.h"

namespace pagelab {
namespace {

class Lru final : public EvictionPolicy {
 public:
  void start(const CacheView& cache, ForgottenEntries&) override {
    cache_ = &cache;
    order_.emplace(cache.entries(), 1);
  }
  void insert(CacheEntry entry) override { order_->push_back(0, entry); }
  void touch(CacheEntry entry) override {
    set_aside(entry);
    order_->push_back(0, entry);
  }
  void release(CacheEntry entry) override { touch(entry); }
  void expose(CacheEntry entry) override {
    if (order_->list_of(entry) < 0) {
      order_->push_front(0, entry);
    }
  }
  CacheEntry evict() override {
    for (;;) {
      const CacheEntry oldest = order_->front(0);
      order_->remove(oldest);
      if (cache_->evictable(oldest)) {
        return oldest;
      }
    }
  }

 private:
  void set_aside(CacheEntry entry) {
    if (order_->list_of(entry) >= 0) {
      order_->remove(entry);
    }
  }

  const CacheView* cache_ = nullptr;
  std::optional<EntryLists> order_;  ///< oldest first; what was met in use is in no list
};

}  // namespace

void register_eviction_lru(PolicyRegistry& registry) {
  registry.add<EvictionPolicy, Lru>(
      {.name = "lru", .summary = "the least recently used block", .source = "vLLM and SGLang's default"});
}

}  // namespace pagelab
