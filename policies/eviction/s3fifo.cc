// S3-FIFO (Yang et al., SOSP'23, section 4.1 and Algorithm 1): three queues, first in, first out. New
// contents enter the small one; those used often enough by its end move on to the main one, the others are
// evicted and remembered in the ghost one. Contents wanted again while they are remembered enter the main
// queue, in which a content goes another round for each use, up to three.
#include <algorithm>
#include <vector>

#include "core/policy_registry.h"
#include "policies/eviction/entry_list.h"

namespace pagelab {
namespace {

class S3Fifo final : public EvictionPolicy {
 public:
  explicit S3Fifo(const Parameters& parameters)
      : small_share_(parameters.real("small")),
        ghost_share_(parameters.real("ghost")),
        promote_(parameters.integer("promote")) {}

  Blocks remembers(Blocks capacity) const override { return Blocks(share(ghost_share_, capacity)); }
  void start(const CacheView& cache, ForgottenEntries& forgotten) override {
    cache_ = &cache;
    forgotten_ = &forgotten;
    small_limit_ = share(small_share_, cache.capacity());
    ghost_limit_ = share(ghost_share_, cache.capacity());
    queues_ = EntryLists(cache.entries(), 4);
    uses_.assign(static_cast<std::size_t>(cache.entries()), 0);
  }
  void insert(CacheEntry entry) override {
    const bool remembered = queues_.list_of(entry) >= 0;
    if (remembered) {
      queues_.remove(entry);
    }
    queues_.push_back(remembered ? kMain : kSmall, entry);
    uses_[entry.index()] = 0;
  }
  void touch(CacheEntry entry) override {
    std::uint8_t& uses = uses_[entry.index()];
    uses = static_cast<std::uint8_t>(std::min(uses + 1, 3));
  }
  void release(CacheEntry entry) override { queues_.unpark(entry); }
  void expose(CacheEntry entry) override { queues_.unpark(entry); }
  void recall(CacheEntry entry) override { queues_.move_to_back(kWanted, entry); }
  CacheEntry evict() override {
    for (bool small = queues_.size(kSmall) >= small_limit_;; small = !small) {
      const CacheEntry victim = small ? evict_small() : evict_main();
      if (victim != kNone) {
        return victim;
      }
    }
  }

 private:
  enum Queue : std::int32_t { kSmall, kMain, kGhost, kWanted };
  static constexpr CacheEntry kNone{-1};

  static std::int64_t share(double of, Blocks capacity) {
    return std::max<std::int64_t>(1, static_cast<std::int64_t>(of * static_cast<double>(capacity.value())));
  }

  CacheEntry evict_small() {
    while (!queues_.all_parked(kSmall)) {
      const CacheEntry entry = queues_.front(kSmall);
      if (uses_[entry.index()] >= promote_) {
        uses_[entry.index()] = 0;
        queues_.move_to_back(kMain, entry);
      } else if (!cache_->evictable(entry)) {
        queues_.park(entry);
      } else {
        queues_.move_to_back(kGhost, entry);
        if (queues_.size(kGhost) > ghost_limit_) {
          forget(queues_.front(kGhost));
        }
        return entry;
      }
    }
    return kNone;
  }

  CacheEntry evict_main() {
    while (!queues_.all_parked(kMain)) {
      const CacheEntry entry = queues_.front(kMain);
      if (uses_[entry.index()] > 0) {
        --uses_[entry.index()];
        queues_.move_to_back(kMain, entry);
      } else if (!cache_->evictable(entry)) {
        queues_.park(entry);
      } else {
        forget(entry);
        return entry;
      }
    }
    return kNone;
  }

  void forget(CacheEntry entry) {
    queues_.remove(entry);
    forgotten_->add(entry);
  }

  double small_share_;
  double ghost_share_;
  std::int64_t promote_;
  const CacheView* cache_ = nullptr;
  ForgottenEntries* forgotten_ = nullptr;
  std::int64_t small_limit_ = 0;
  std::int64_t ghost_limit_ = 0;
  EntryLists queues_;               ///< oldest first
  std::vector<std::uint8_t> uses_;  ///< since the entry came to its queue, up to 3
};

}  // namespace

void register_eviction_s3fifo(PolicyRegistry& registry) {
  registry.add<EvictionPolicy, S3Fifo>(
      {.name = "s3fifo",
       .summary = "the first in of a small queue, past which come only blocks that are used",
       .source = "S3-FIFO (Yang et al., SOSP'23), section 4.1, Algorithm 1",
       .parameters = {{.name = "small",
                       .default_value = 0.1,
                       .help = "share of the capacity for the small queue",
                       .maximum = 1.0,
                       .above = 0.0},
                      {.name = "ghost",
                       .default_value = 0.9,
                       .help = "evicted blocks to remember, as a share of the capacity",
                       .maximum = 10.0,
                       .above = 0.0},
                      {.name = "promote",
                       .default_value = std::int64_t{2},
                       .unit = "uses",
                       .help = "uses in the small queue that take a block to the main one",
                       .minimum = 1,
                       .maximum = 3}}});
}

}  // namespace pagelab
