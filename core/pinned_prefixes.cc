#include "core/pinned_prefixes.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/error.h"

namespace pagelab {

std::span<const BlockId> PinnedPrefixes::add(std::span<const TokenId> tokens,
                                             std::span<const BlockId> blocks) {
  PAGELAB_INVARIANT(tokens.size() == blocks.size() * static_cast<std::size_t>(block_size_.value()),
                    fmt::format("{} tokens in {} blocks", tokens.size(), blocks.size()));
  const auto kept = static_cast<std::size_t>(leading(blocks).value());
  prefixes_.push_back({{tokens.begin(), tokens.end()}, {blocks.begin(), blocks.end()}});
  blocks_.insert(blocks_.end(), blocks.begin() + static_cast<std::ptrdiff_t>(kept), blocks.end());
  return std::span(blocks_).last(blocks.size() - kept);
}

std::span<const BlockId> PinnedPrefixes::match(std::span<const TokenId> prompt) const {
  std::span<const BlockId> longest;
  for (const Prefix& prefix : prefixes_) {
    if (prefix.tokens.size() < prompt.size() && prefix.blocks.size() > longest.size() &&
        std::equal(prefix.tokens.begin(), prefix.tokens.end(), prompt.begin())) {
      longest = prefix.blocks;
    }
  }
  return longest;
}

Blocks PinnedPrefixes::leading(std::span<const BlockId> table) const {
  std::ptrdiff_t most = 0;
  for (const Prefix& prefix : prefixes_) {
    const auto differ = std::mismatch(prefix.blocks.begin(), prefix.blocks.end(), table.begin(), table.end());
    most = std::max(most, differ.first - prefix.blocks.begin());
  }
  return Blocks(most);
}

}  // namespace pagelab
