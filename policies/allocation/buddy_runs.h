// BuddyRuns: the buddy allocator (Knowlton, 1965) that the Orca baselines of the PagedAttention paper are
// given. Runs are powers of two of blocks; the pool is cut greedily into the largest, then the next smaller
// ones; free runs of one size form a stack; two halves of a run merge as soon as both are free.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "core/parameters.h"
#include "core/policies.h"

namespace pagelab {

class BuddyRuns final : public BlockRuns {
 public:
  /// No run is longer than `longest`, rounded up to a power of two.
  BuddyRuns(Blocks capacity, Blocks longest);

  std::optional<BlockId> take(Blocks blocks) override;
  void give_back(BlockId first, Blocks blocks) override;
  Blocks free() const override { return free_; }

 private:
  /// A block is the head of a free run of 2^order blocks, or of none. Free runs of an order are a list.
  struct Head {
    std::int32_t order = -1;
    std::int32_t next = -1;
    std::int32_t previous = -1;
  };
  static int order_of(Blocks blocks);
  Head& head(std::int32_t block) { return heads_[static_cast<std::size_t>(block)]; }
  void push(std::int32_t block, int order);
  void unlink(std::int32_t block);

  std::vector<Head> heads_;
  std::vector<std::int32_t> tops_;  ///< first free run of each order; -1: none
  Blocks free_;
};

/// The parameter of the policies that set aside runs: the longest sequence, which the largest run holds.
ParameterSpec max_length_parameter();

/// What the policies that allocate this way have in common; each says how much a sequence gets.
class BuddyAllocation : public AllocationPolicy {
 public:
  explicit BuddyAllocation(const Parameters& parameters) : max_length_(parameters.integer("max_length")) {}
  std::unique_ptr<BlockRuns> make_runs(Blocks capacity, Tokens block_size) const override {
    return std::make_unique<BuddyRuns>(capacity, blocks_for(max_length_, block_size));
  }

 protected:
  Tokens max_length() const { return max_length_; }

 private:
  Tokens max_length_;
};

}  // namespace pagelab
