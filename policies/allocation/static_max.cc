// Static allocation: the pool is cut once into places of the longest sequence, as where a cache is one tensor
// of (batch, longest sequence); a sequence takes a place (PagedAttention paper, section 3.1).
#include <vector>

#include "core/policy_registry.h"
#include "policies/allocation/buddy_runs.h"

namespace pagelab {
namespace {

class Places final : public BlockRuns {
 public:
  Places(Blocks capacity, Blocks size) : size_(size) {
    for (std::int64_t place = capacity / size; place-- > 0;) {
      free_.push_back(BlockId(static_cast<std::int32_t>(place * size.value())));
    }
  }
  std::optional<BlockId> take(Blocks blocks) override {
    if (blocks > size_ || free_.empty()) {
      return std::nullopt;
    }
    const BlockId first = free_.back();
    free_.pop_back();
    return first;
  }
  void give_back(BlockId first, Blocks) override { free_.push_back(first); }
  Blocks free() const override { return static_cast<std::int64_t>(free_.size()) * size_; }

 private:
  Blocks size_;
  std::vector<BlockId> free_;
};

class StaticMax final : public AllocationPolicy {
 public:
  explicit StaticMax(const Parameters& parameters) : max_length_(parameters.integer("max_length")) {}

  Tokens reserve(const GroupView&, Tokens known) override { return std::max(known, max_length_); }
  std::unique_ptr<BlockRuns> make_runs(Blocks capacity, Tokens block_size) const override {
    return std::make_unique<Places>(capacity, blocks_for(max_length_, block_size));
  }

 private:
  Tokens max_length_;
};

}  // namespace

void register_allocation_static_max(PolicyRegistry& registry) {
  registry.add<AllocationPolicy, StaticMax>({.name = "static_max",
                                             .summary = "places of the longest sequence, cut once",
                                             .source = "PagedAttention (SOSP 2023), section 3.1",
                                             .parameters = {max_length_parameter()}});
}

}  // namespace pagelab
