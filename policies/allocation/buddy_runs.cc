#include "policies/allocation/buddy_runs.h"

#include <algorithm>
#include <bit>

namespace pagelab {

int BuddyRuns::order_of(Blocks blocks) {
  return static_cast<int>(std::bit_width(static_cast<std::uint64_t>(blocks.value()) - 1));
}

BuddyRuns::BuddyRuns(Blocks capacity, Blocks longest)
    : heads_(static_cast<std::size_t>(capacity.value())),
      tops_(static_cast<std::size_t>(order_of(longest)) + 1, -1),
      free_(capacity) {
  std::vector<std::pair<std::int32_t, int>> cuts;
  std::int64_t start = 0;
  for (int order = static_cast<int>(tops_.size()) - 1; order >= 0; --order) {
    for (const std::int64_t size = std::int64_t{1} << order; start + size <= capacity.value();
         start += size) {
      cuts.emplace_back(static_cast<std::int32_t>(start), order);
    }
  }
  for (auto cut = cuts.rbegin(); cut != cuts.rend(); ++cut) {  // so that the first run is on top
    push(cut->first, cut->second);
  }
}

void BuddyRuns::push(std::int32_t block, int order) {
  std::int32_t& top = tops_[static_cast<std::size_t>(order)];
  head(block) = {.order = order, .next = top, .previous = -1};
  if (top >= 0) {
    head(top).previous = block;
  }
  top = block;
}

void BuddyRuns::unlink(std::int32_t block) {
  const Head gone = head(block);
  (gone.previous < 0 ? tops_[static_cast<std::size_t>(gone.order)] : head(gone.previous).next) = gone.next;
  if (gone.next >= 0) {
    head(gone.next).previous = gone.previous;
  }
  head(block) = {};
}

std::optional<BlockId> BuddyRuns::take(Blocks blocks) {
  const int wanted = order_of(blocks);
  auto order = static_cast<std::size_t>(wanted);
  while (order < tops_.size() && tops_[order] < 0) {
    ++order;
  }
  if (order >= tops_.size()) {
    return std::nullopt;
  }
  const std::int32_t block = tops_[order];
  unlink(block);
  for (int half = static_cast<int>(order) - 1; half >= wanted; --half) {
    push(block + (std::int32_t{1} << half), half);
  }
  free_ -= Blocks(std::int64_t{1} << wanted);
  return BlockId(block);
}

void BuddyRuns::give_back(BlockId first, Blocks blocks) {
  int order = order_of(blocks);
  std::int32_t block = first.value();
  free_ += Blocks(std::int64_t{1} << order);
  for (; order + 1 < static_cast<int>(tops_.size()); ++order) {
    const std::int32_t buddy = block ^ (std::int32_t{1} << order);
    if (static_cast<std::size_t>(buddy) >= heads_.size() || head(buddy).order != order) {
      break;
    }
    unlink(buddy);
    block = std::min(block, buddy);
  }
  push(block, order);
}

ParameterSpec max_length_parameter() {
  return {.name = "max_length",
          .default_value = std::int64_t{2048},
          .unit = "tokens",
          .help = "longest sequence, prompt and output; the largest run holds it",
          .minimum = 1,
          .maximum = 1 << 24};
}

}  // namespace pagelab
