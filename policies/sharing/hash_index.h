// HashIndex: contents in one hash table, by the content that they stand behind and their tokens (vLLM's
// prefix caching finds blocks by chained hashes; here the chain is followed by identity and tokens are
// compared, so that a collision cannot serve one prompt with another's KV). A content whose parent was
// evicted stays, and is found again when the parent is back: what it stands behind is remembered as long as
// something cached does. Owns tokens and table.
#pragma once

#include <cstdint>
#include <vector>

#include "core/prefix_index.h"

namespace pagelab {

class HashIndex final : public PrefixIndex {
 public:
  HashIndex(Blocks capacity, Tokens block_size);

  bool leaves_first() const override { return false; }
  void match(std::span<const TokenId> tokens, std::vector<CacheEntry>& path) const override;
  std::optional<CacheEntry> find(CacheEntry parent, std::span<const TokenId> block) const override;
  void insert(CacheEntry parent, std::span<const TokenId> block, CacheEntry entry) override;
  void erase(CacheEntry entry) override;
  void check_integrity() const override;

 private:
  using NodeId = std::int32_t;
  static constexpr NodeId none = -1;

  struct Node {
    NodeId parent = none;  ///< none: it begins a prompt
    std::uint64_t hash = 0;
    NodeId next = none;         ///< in its bucket, or in the list of free nodes
    std::int32_t children = 0;  ///< nodes whose parent it is
    CacheEntry entry = root;    ///< root: not cached
    bool live = false;
  };

  NodeId node_of(CacheEntry entry) const { return entry == root ? none : node_of_[entry.index()]; }
  std::span<const TokenId> tokens(NodeId node) const;
  static std::uint64_t hash_of(NodeId parent, std::span<const TokenId> block);
  NodeId& bucket(std::uint64_t hash) { return buckets_[hash & (buckets_.size() - 1)]; }
  NodeId find_node(NodeId parent, std::span<const TokenId> block) const;
  NodeId add_node(NodeId parent, std::span<const TokenId> block);
  /// Removes a node that is neither cached nor has children, and so up its chain.
  void prune(NodeId node);
  void grow();

  std::size_t block_size_;
  std::vector<Node> nodes_;
  std::vector<TokenId> tokens_;  ///< block_size_ for each node
  std::vector<NodeId> buckets_;  ///< first node of each; a power of two of them
  std::vector<NodeId> node_of_;  ///< by entry
  NodeId free_ = none;
  std::size_t used_ = 0;
};

}  // namespace pagelab
