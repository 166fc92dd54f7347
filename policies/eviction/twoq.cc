// 2Q, full version (Johnson and Shasha, VLDB'94): new contents enter a queue, first in, first
// out (A1in in the paper), and are remembered when they leave it (A1out). One that is wanted again while it
// is remembered proved that it is used over a longer time and enters the main list, least recently used first
// (Am).
#include <algorithm>

#include "core/policy_registry.h"
#include "policies/eviction/entry_list.h"

namespace pagelab {
namespace {

class TwoQ final : public EvictionPolicy {
 public:
  explicit TwoQ(const Parameters& parameters)
      : in_share_(parameters.real("in")), out_share_(parameters.real("out")) {}

  Blocks remembers(Blocks capacity) const override { return Blocks(share(out_share_, capacity)); }
  void start(const CacheView& cache, ForgottenEntries& forgotten) override {
    cache_ = &cache;
    forgotten_ = &forgotten;
    in_limit_ = share(in_share_, cache.capacity());
    out_limit_ = share(out_share_, cache.capacity());
    lists_ = EntryLists(cache.entries(), 4);
  }
  void insert(CacheEntry entry) override {
    if (lists_.list_of(entry) >= 0) {
      lists_.move_to_back(kMain, entry);
    } else {
      lists_.push_back(kIn, entry);
    }
  }
  void touch(CacheEntry entry) override {
    if (lists_.list_of(entry) == kMain) {
      lists_.move_to_back(kMain, entry);
    }
  }
  void release(CacheEntry entry) override {
    touch(entry);
    lists_.unpark(entry);
  }
  void expose(CacheEntry entry) override { lists_.unpark(entry); }
  void recall(CacheEntry entry) override { lists_.move_to_back(kWanted, entry); }
  CacheEntry evict() override {
    const bool from_in = lists_.size(kIn) > in_limit_;
    List list = from_in ? kIn : kMain;
    CacheEntry victim = lists_.first_evictable(list, *cache_);
    if (victim == lists_.end(list)) {
      list = from_in ? kMain : kIn;
      victim = lists_.first_evictable(list, *cache_);
    }
    if (list == kMain) {
      forget(victim);
      return victim;
    }
    lists_.move_to_back(kOut, victim);
    if (lists_.size(kOut) > out_limit_) {
      forget(lists_.front(kOut));
    }
    return victim;
  }

 private:
  /// kWanted holds what recall() took from kOut until insert().
  enum List : std::int32_t { kIn, kMain, kOut, kWanted };

  static std::int64_t share(double of, Blocks capacity) {
    return std::max<std::int64_t>(1, static_cast<std::int64_t>(of * static_cast<double>(capacity.value())));
  }
  void forget(CacheEntry entry) {
    lists_.remove(entry);
    forgotten_->add(entry);
  }

  double in_share_;
  double out_share_;
  const CacheView* cache_ = nullptr;
  ForgottenEntries* forgotten_ = nullptr;
  std::int64_t in_limit_ = 0;
  std::int64_t out_limit_ = 0;
  EntryLists lists_;  ///< oldest or least recently used first
};

}  // namespace

void register_eviction_twoq(PolicyRegistry& registry) {
  registry.add<EvictionPolicy, TwoQ>(
      {.name = "twoq",
       .summary = "the first in, remembered when it goes; the least recently used of those wanted again",
       .source = "2Q, full version (Johnson and Shasha, VLDB'94)",
       .parameters = {{.name = "in",
                       .default_value = 0.25,
                       .help = "share of the capacity that new blocks may fill (Kin)",
                       .maximum = 1.0,
                       .above = 0.0},
                      {.name = "out",
                       .default_value = 0.5,
                       .help = "evicted blocks to remember, as a share of the capacity (Kout)",
                       .maximum = 10.0,
                       .above = 0.0}}});
}

}  // namespace pagelab
