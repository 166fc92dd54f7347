// RadixIndex: contents in a tree whose nodes are runs of blocks that nothing branches off (SGLang,
// RadixAttention, section 3). A prompt is compared run by run; only where runs meet is anything looked up.
// Contents go from the leaves inwards. Owns tokens and tree.
#pragma once

#include <cstdint>
#include <vector>

#include "core/prefix_index.h"

namespace pagelab {

class RadixIndex final : public PrefixIndex {
 public:
  RadixIndex(Blocks capacity, Tokens block_size);

  bool leaves_first() const override { return true; }
  void match(std::span<const TokenId> tokens, std::vector<CacheEntry>& path) const override;
  std::optional<CacheEntry> find(CacheEntry parent, std::span<const TokenId> block) const override;
  void insert(CacheEntry parent, std::span<const TokenId> block, CacheEntry entry) override;
  void erase(CacheEntry entry) override;
  void check_integrity() const override;

 private:
  using NodeId = std::int32_t;
  static constexpr NodeId none = -1;

  struct Node {
    NodeId parent = none;  ///< none: it begins prompts
    NodeId next = none;    ///< in its bucket, or in the list of free nodes
    std::uint64_t hash = 0;
    std::int32_t children = 0;
    std::vector<CacheEntry> entries;  ///< of its run, at least one
    std::vector<TokenId> tokens;      ///< of its run, block_size_ for each entry
  };
  /// Where an entry is: in which node, and which of its run.
  struct Place {
    NodeId node = none;
    std::size_t offset = 0;
  };

  Place place_of(CacheEntry entry) const;
  std::size_t length(NodeId node) const { return node_(node).entries.size(); }
  const Node& node_(NodeId node) const { return nodes_[static_cast<std::size_t>(node)]; }
  Node& node_(NodeId node) { return nodes_[static_cast<std::size_t>(node)]; }
  std::span<const TokenId> block_at(NodeId node, std::size_t offset) const;
  NodeId child(NodeId parent, std::span<const TokenId> block) const;
  NodeId new_node(NodeId parent);
  void link(NodeId node);
  void unlink(NodeId node);
  /// Makes the first `count` blocks of a node's run a node of their own, above it.
  void split(NodeId node, std::size_t count);

  std::size_t block_size_;
  std::vector<Node> nodes_;
  std::vector<NodeId> buckets_;  ///< first node of each, by parent and first block; a power of two of them
  std::vector<NodeId> node_of_;  ///< by entry
  std::vector<std::int64_t> depth_of_;  ///< by entry: blocks before it in its prompt
  NodeId free_ = none;
};

}  // namespace pagelab
