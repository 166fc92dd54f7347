// PinnedPrefixes: which prefixes stay in the device pool for the rest of the run, and in which blocks
// (PagedAttention paper, section 4.4, "shared prefix"). It owns the tokens, by which a prompt is recognised,
// and the lists of blocks; the reference that keeps the blocks is the KV manager's to take.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "core/ids.h"

namespace pagelab {

class PinnedPrefixes {
 public:
  explicit PinnedPrefixes(Tokens block_size) : block_size_(block_size) {}

  /// Keeps the blocks of `tokens`, which fill them. Returns those that no other prefix keeps already.
  std::span<const BlockId> add(std::span<const TokenId> tokens, std::span<const BlockId> blocks);
  /// The blocks of the longest prefix that `prompt` begins with and goes beyond; none if there is none.
  std::span<const BlockId> match(std::span<const TokenId> prompt) const;
  /// Entries at the start of a block table that are those of a pinned prefix.
  Blocks leading(std::span<const BlockId> table) const;
  /// All pinned blocks, each once.
  std::span<const BlockId> blocks() const { return blocks_; }

 private:
  struct Prefix {
    std::vector<TokenId> tokens;
    std::vector<BlockId> blocks;
  };

  Tokens block_size_;
  std::vector<Prefix> prefixes_;
  std::vector<BlockId> blocks_;
};

}  // namespace pagelab
