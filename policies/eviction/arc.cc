// ARC (Megiddo and Modha, FAST'03, Figure 4): contents used once and contents used again, each
// in order of use, and as many evicted ones of either kind remembered as fit a directory of twice the
// capacity. A remembered content that is wanted again shows which kind deserves more room: `target_` is the
// room of the first.
//
// The paper decides on a miss, with the new content at hand. Here evict() takes the content at hand for a
// remembered one if recall() came before it, and else for a new one.
#include <algorithm>

#include "core/policy_registry.h"
#include "policies/eviction/entry_list.h"

namespace pagelab {
namespace {

class Arc final : public EvictionPolicy {
 public:
  Blocks remembers(Blocks capacity) const override { return capacity; }
  void start(const CacheView& cache, ForgottenEntries& forgotten) override {
    cache_ = &cache;
    forgotten_ = &forgotten;
    capacity_ = cache.capacity().value();
    lists_ = EntryLists(cache.entries(), 5);
  }
  void insert(CacheEntry entry) override {
    if (lists_.list_of(entry) >= 0) {
      lists_.move_to_back(kOften, entry);
    } else {
      lists_.push_back(kOnce, entry);
    }
  }
  void touch(CacheEntry entry) override { lists_.move_to_back(kOften, entry); }
  void release(CacheEntry entry) override { lists_.move_to_back(lists_.list_of(entry), entry); }
  void expose(CacheEntry entry) override { lists_.unpark(entry); }
  void recall(CacheEntry entry) override {
    const auto once = static_cast<double>(lists_.size(kOnceGhosts));
    const auto often = static_cast<double>(lists_.size(kOftenGhosts));
    often_wanted_ = lists_.list_of(entry) == kOftenGhosts;
    target_ = often_wanted_ ? std::max(0.0, target_ - std::max(1.0, once / often))
                            : std::min(static_cast<double>(capacity_), target_ + std::max(1.0, often / once));
    lists_.move_to_back(kWanted, entry);
  }
  CacheEntry evict() override {
    if (lists_.size(kWanted) == 0) {
      often_wanted_ = false;
      if (lists_.size(kOnce) >= capacity_) {  // nothing of its kind is remembered, nor will be
        const CacheEntry victim = lists_.first_evictable(kOnce, *cache_);
        forget(victim);
        return victim;
      }
      forget_for_a_new_one();
    }
    const CacheEntry victim = replace();
    if (lists_.size(kOnceGhosts) + lists_.size(kOftenGhosts) > capacity_) {
      forget_oldest(lists_.size(kOnceGhosts) > lists_.size(kOftenGhosts) ? kOnceGhosts : kOftenGhosts);
    }
    return victim;
  }

 private:
  /// In the paper T1, T2, B1 and B2; kWanted holds what recall() took from the last two until insert().
  enum List : std::int32_t { kOnce, kOften, kOnceGhosts, kOftenGhosts, kWanted };

  /// Case IV of the figure: the directory has room for one more.
  void forget_for_a_new_one() {
    const std::int64_t once = lists_.size(kOnce) + lists_.size(kOnceGhosts);
    if (once >= capacity_) {
      forget_oldest(kOnceGhosts);
    } else if (once + lists_.size(kOften) + lists_.size(kOftenGhosts) >= 2 * capacity_) {
      forget_oldest(kOftenGhosts);
    }
  }
  /// REPLACE of the figure; where all of a kind is in use, the other gives.
  CacheEntry replace() {
    const auto once = static_cast<double>(lists_.size(kOnce));
    const bool from_once = once > 0 && (once > target_ || (often_wanted_ && once == target_));
    List list = from_once ? kOnce : kOften;
    CacheEntry victim = lists_.first_evictable(list, *cache_);
    if (victim == lists_.end(list)) {
      list = from_once ? kOften : kOnce;
      victim = lists_.first_evictable(list, *cache_);
    }
    lists_.move_to_back(list == kOnce ? kOnceGhosts : kOftenGhosts, victim);
    return victim;
  }
  void forget_oldest(List list) { forget(lists_.front(list)); }
  void forget(CacheEntry entry) {
    lists_.remove(entry);
    forgotten_->add(entry);
  }

  const CacheView* cache_ = nullptr;
  ForgottenEntries* forgotten_ = nullptr;
  std::int64_t capacity_ = 0;
  EntryLists lists_;  ///< least recently used first
  double target_ = 0;
  bool often_wanted_ = false;
};

}  // namespace

void register_eviction_arc(PolicyRegistry& registry) {
  registry.add<EvictionPolicy, Arc>(
      {.name = "arc",
       .summary = "the least recently used of those used once or of those used again, by what proves missing",
       .source = "ARC (Megiddo and Modha, FAST'03), Figure 4"});
}

}  // namespace pagelab
