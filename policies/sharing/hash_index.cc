#include "policies/sharing/hash_index.h"

#include <algorithm>
#include <bit>

#include <fmt/format.h>

#include "core/error.h"

namespace pagelab {

HashIndex::HashIndex(Blocks capacity, Tokens block_size)
    : block_size_(static_cast<std::size_t>(block_size.value())),
      buckets_(std::bit_ceil(static_cast<std::size_t>(std::max<std::int64_t>(capacity.value(), 8)) * 2),
               none) {
  nodes_.reserve(buckets_.size());
  tokens_.reserve(buckets_.size() * block_size_);
}

std::span<const TokenId> HashIndex::tokens(NodeId node) const {
  return std::span(tokens_).subspan(static_cast<std::size_t>(node) * block_size_, block_size_);
}

std::uint64_t HashIndex::hash_of(NodeId parent, std::span<const TokenId> block) {
  return hash_tokens(static_cast<std::uint64_t>(static_cast<std::int64_t>(parent)), block);
}

HashIndex::NodeId HashIndex::find_node(NodeId parent, std::span<const TokenId> block) const {
  const std::uint64_t hash = hash_of(parent, block);
  for (NodeId id = buckets_[hash & (buckets_.size() - 1)]; id != none;) {
    const Node& node = nodes_[static_cast<std::size_t>(id)];
    if (node.hash == hash && node.parent == parent && std::ranges::equal(tokens(id), block)) {
      return id;
    }
    id = node.next;
  }
  return none;
}

void HashIndex::match(std::span<const TokenId> prompt, std::vector<CacheEntry>& path) const {
  NodeId node = none;
  for (; prompt.size() >= block_size_; prompt = prompt.subspan(block_size_)) {
    node = find_node(node, prompt.first(block_size_));
    if (node == none || nodes_[static_cast<std::size_t>(node)].entry == root) {
      return;
    }
    path.push_back(nodes_[static_cast<std::size_t>(node)].entry);
  }
}

std::optional<CacheEntry> HashIndex::find(CacheEntry parent, std::span<const TokenId> block) const {
  const NodeId node = find_node(node_of(parent), block);
  if (node == none || nodes_[static_cast<std::size_t>(node)].entry == root) {
    return std::nullopt;
  }
  return nodes_[static_cast<std::size_t>(node)].entry;
}

HashIndex::NodeId HashIndex::add_node(NodeId parent, std::span<const TokenId> block) {
  if (used_ == buckets_.size()) {
    grow();
  }
  NodeId id = free_;
  if (id != none) {
    free_ = nodes_[static_cast<std::size_t>(id)].next;
  } else {
    id = static_cast<NodeId>(nodes_.size());
    nodes_.emplace_back();
    tokens_.resize(tokens_.size() + block_size_);
  }
  std::ranges::copy(
      block, tokens_.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(id) * block_size_));
  const std::uint64_t hash = hash_of(parent, block);
  nodes_[static_cast<std::size_t>(id)] = {.parent = parent, .hash = hash, .next = bucket(hash), .live = true};
  bucket(hash) = id;
  if (parent != none) {
    ++nodes_[static_cast<std::size_t>(parent)].children;
  }
  ++used_;
  return id;
}

void HashIndex::insert(CacheEntry parent, std::span<const TokenId> block, CacheEntry entry) {
  const NodeId above = node_of(parent);
  NodeId node = find_node(above, block);
  if (node == none) {
    node = add_node(above, block);
  }
  nodes_[static_cast<std::size_t>(node)].entry = entry;
  if (node_of_.size() <= entry.index()) {
    node_of_.resize(entry.index() + 1, none);
  }
  node_of_[entry.index()] = node;
}

void HashIndex::erase(CacheEntry entry) {
  const NodeId node = node_of(entry);
  nodes_[static_cast<std::size_t>(node)].entry = root;
  node_of_[entry.index()] = none;
  prune(node);
}

void HashIndex::prune(NodeId id) {
  while (id != none) {
    Node& node = nodes_[static_cast<std::size_t>(id)];
    if (node.entry != root || node.children > 0) {
      return;
    }
    NodeId* link = &bucket(node.hash);
    while (*link != id) {
      link = &nodes_[static_cast<std::size_t>(*link)].next;
    }
    *link = node.next;
    const NodeId parent = node.parent;
    node = {.next = free_};
    free_ = id;
    --used_;
    if (parent != none) {
      --nodes_[static_cast<std::size_t>(parent)].children;
    }
    id = parent;
  }
}

void HashIndex::grow() {
  buckets_.assign(buckets_.size() * 2, none);
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    if (nodes_[i].live) {
      nodes_[i].next = bucket(nodes_[i].hash);
      bucket(nodes_[i].hash) = static_cast<NodeId>(i);
    }
  }
}

void HashIndex::check_integrity() const {
  std::vector<std::int32_t> children(nodes_.size(), 0);
  std::size_t live = 0;
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    const Node& node = nodes_[i];
    if (!node.live) {
      continue;
    }
    ++live;
    if (node.parent != none) {
      ++children[static_cast<std::size_t>(node.parent)];
    }
    PAGELAB_INVARIANT(find_node(node.parent, tokens(static_cast<NodeId>(i))) == static_cast<NodeId>(i),
                      fmt::format("node {} is not found by its tokens", i));
    PAGELAB_INVARIANT(node.entry == root || node_of(node.entry) == static_cast<NodeId>(i),
                      fmt::format("node {} and entry {} do not agree", i, node.entry.value()));
    PAGELAB_INVARIANT(node.entry != root || node.children > 0, fmt::format("node {} is of no use", i));
  }
  PAGELAB_INVARIANT(live == used_, fmt::format("{} nodes, {} counted", live, used_));
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    PAGELAB_INVARIANT(children[i] == nodes_[i].children,
                      fmt::format("node {}: {} children, {} counted", i, children[i], nodes_[i].children));
  }
}

}  // namespace pagelab
