#include "core/pinned_prefixes.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/error.h"

namespace pagelab {

void PinnedPrefixes::add(std::span<const TokenId> tokens, std::span<const BlockId> blocks) {
  PAGELAB_INVARIANT(tokens.size() == blocks.size() * static_cast<std::size_t>(block_size_.value()),
                    fmt::format("{} tokens in {} blocks", tokens.size(), blocks.size()));
  prefixes_.push_back({{tokens.begin(), tokens.end()}, blocks_.size()});
  blocks_.insert(blocks_.end(), blocks.begin(), blocks.end());
}

std::span<const BlockId> PinnedPrefixes::blocks_of(const Prefix& prefix) const {
  return std::span(blocks_).subspan(prefix.first,
                                    prefix.tokens.size() / static_cast<std::size_t>(block_size_.value()));
}

std::span<const BlockId> PinnedPrefixes::match(std::span<const TokenId> prompt) const {
  std::span<const BlockId> longest;
  for (const Prefix& prefix : prefixes_) {
    const std::span<const BlockId> blocks = blocks_of(prefix);
    if (prefix.tokens.size() < prompt.size() && blocks.size() > longest.size() &&
        std::equal(prefix.tokens.begin(), prefix.tokens.end(), prompt.begin())) {
      longest = blocks;
    }
  }
  return longest;
}

Blocks PinnedPrefixes::leading(std::span<const BlockId> table) const {
  std::ptrdiff_t most = 0;
  for (const Prefix& prefix : prefixes_) {
    const std::span<const BlockId> blocks = blocks_of(prefix);
    const auto differ = std::mismatch(blocks.begin(), blocks.end(), table.begin(), table.end());
    most = std::max(most, differ.first - blocks.begin());
  }
  return Blocks(most);
}

}  // namespace pagelab
