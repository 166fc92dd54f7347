// Segmented LRU (Karedla et al., Caching strategies to improve disk system performance, 1994) in equal
// segments, as S4LRU (Huang et al., An analysis of Facebook photo caching, SOSP'13, section 6, Table 4): new
// contents enter the lowest segment, a use takes a content to the next higher one, and what falls out of a
// segment goes to the one below. Victims come from the lowest.
#include <algorithm>

#include "core/policy_registry.h"
#include "policies/eviction/entry_list.h"

namespace pagelab {
namespace {

class Slru final : public EvictionPolicy {
 public:
  explicit Slru(const Parameters& parameters)
      : segments_(static_cast<std::int32_t>(parameters.integer("segments"))) {}

  void start(const CacheView& cache, ForgottenEntries&) override {
    cache_ = &cache;
    limit_ = std::max<std::int64_t>(1, cache.capacity().value() / segments_);
    order_ = EntryLists(cache.entries(), segments_);
  }
  void insert(CacheEntry entry) override { order_.push_back(0, entry); }
  void touch(CacheEntry entry) override {
    const std::int32_t to = std::min(order_.list_of(entry) + 1, segments_ - 1);
    order_.move_to_back(to, entry);
    for (std::int32_t segment = to; segment > 0 && order_.size(segment) > limit_; --segment) {
      order_.move_to_back(segment - 1, order_.front(segment));
    }
  }
  void release(CacheEntry entry) override { order_.move_to_back(order_.list_of(entry), entry); }
  void expose(CacheEntry entry) override { order_.unpark(entry); }
  CacheEntry evict() override {
    for (std::int32_t segment = 0;; ++segment) {
      const CacheEntry entry = order_.first_evictable(segment, *cache_);
      if (entry != order_.end(segment)) {
        order_.remove(entry);
        return entry;
      }
    }
  }

 private:
  std::int32_t segments_;
  const CacheView* cache_ = nullptr;
  std::int64_t limit_ = 0;  ///< blocks of a segment; the lowest takes what is left
  EntryLists order_;        ///< least recently used first
};

}  // namespace

void register_eviction_slru(PolicyRegistry& registry) {
  registry.add<EvictionPolicy, Slru>(
      {.name = "slru",
       .summary = "the least recently used of the lowest segment; each use lifts a block by one",
       .source = "Karedla et al. (Computer, 1994); S4LRU (Huang et al., SOSP'13), section 6",
       .parameters = {{.name = "segments",
                       .default_value = std::int64_t{4},
                       .help = "equal parts of the capacity",
                       .minimum = 2,
                       .maximum = 64}}});
}

}  // namespace pagelab
