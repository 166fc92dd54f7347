#include "policies/sharing/radix_index.h"

#include <algorithm>
#include <bit>

#include <fmt/format.h>

#include "core/error.h"

namespace pagelab {

RadixIndex::RadixIndex(Blocks capacity, Tokens block_size)
    : block_size_(static_cast<std::size_t>(block_size.value())),
      buckets_(std::bit_ceil(static_cast<std::size_t>(std::max<std::int64_t>(capacity.value(), 8))), none) {}

RadixIndex::Place RadixIndex::place_of(CacheEntry entry) const {
  const NodeId node = node_of_[entry.index()];
  const std::int64_t start = depth_of_[node_(node).entries.front().index()];
  return {node, static_cast<std::size_t>(depth_of_[entry.index()] - start)};
}

std::span<const TokenId> RadixIndex::block_at(NodeId node, std::size_t offset) const {
  return std::span(node_(node).tokens).subspan(offset * block_size_, block_size_);
}

RadixIndex::NodeId RadixIndex::child(NodeId parent, std::span<const TokenId> block) const {
  const std::uint64_t hash =
      hash_tokens(static_cast<std::uint64_t>(static_cast<std::int64_t>(parent)), block);
  for (NodeId id = buckets_[hash & (buckets_.size() - 1)]; id != none; id = node_(id).next) {
    if (node_(id).hash == hash && node_(id).parent == parent && std::ranges::equal(block_at(id, 0), block)) {
      return id;
    }
  }
  return none;
}

void RadixIndex::match(std::span<const TokenId> prompt, std::vector<CacheEntry>& path) const {
  NodeId node = none;
  while (prompt.size() >= block_size_) {
    node = child(node, prompt.first(block_size_));
    if (node == none) {
      return;
    }
    const std::vector<TokenId>& run = node_(node).tokens;
    const auto differ = std::mismatch(run.begin(), run.end(), prompt.begin(), prompt.end());
    const auto same = static_cast<std::size_t>(differ.first - run.begin()) / block_size_;
    path.insert(path.end(), node_(node).entries.begin(),
                node_(node).entries.begin() + static_cast<std::ptrdiff_t>(same));
    if (same < length(node)) {
      return;
    }
    prompt = prompt.subspan(run.size());
  }
}

std::optional<CacheEntry> RadixIndex::find(CacheEntry parent, std::span<const TokenId> block) const {
  NodeId above = none;
  if (parent != root) {
    const auto [node, offset] = place_of(parent);
    if (offset + 1 < length(node)) {
      return std::ranges::equal(block_at(node, offset + 1), block)
                 ? std::optional(node_(node).entries[offset + 1])
                 : std::nullopt;
    }
    above = node;
  }
  const NodeId node = child(above, block);
  return node == none ? std::nullopt : std::optional(node_(node).entries.front());
}

RadixIndex::NodeId RadixIndex::new_node(NodeId parent) {
  NodeId id = free_;
  if (id != none) {
    free_ = node_(id).next;
  } else {
    id = static_cast<NodeId>(nodes_.size());
    nodes_.emplace_back();
  }
  node_(id).parent = parent;
  return id;
}

void RadixIndex::link(NodeId id) {
  Node& node = node_(id);
  node.hash =
      hash_tokens(static_cast<std::uint64_t>(static_cast<std::int64_t>(node.parent)), block_at(id, 0));
  NodeId& bucket = buckets_[node.hash & (buckets_.size() - 1)];
  node.next = bucket;
  bucket = id;
  if (node.parent != none) {
    ++node_(node.parent).children;
  }
}

void RadixIndex::unlink(NodeId id) {
  const Node& node = node_(id);
  NodeId* link = &buckets_[node.hash & (buckets_.size() - 1)];
  while (*link != id) {
    link = &node_(*link).next;
  }
  *link = node.next;
  if (node.parent != none) {
    --node_(node.parent).children;
  }
}

void RadixIndex::split(NodeId id, std::size_t count) {
  unlink(id);
  const NodeId upper = new_node(node_(id).parent);
  Node& below = node_(id);
  Node& above = node_(upper);
  const auto entries = below.entries.begin() + static_cast<std::ptrdiff_t>(count);
  const auto tokens = below.tokens.begin() + static_cast<std::ptrdiff_t>(count * block_size_);
  above.entries.assign(below.entries.begin(), entries);
  above.tokens.assign(below.tokens.begin(), tokens);
  below.entries.erase(below.entries.begin(), entries);
  below.tokens.erase(below.tokens.begin(), tokens);
  for (const CacheEntry entry : above.entries) {
    node_of_[entry.index()] = upper;
  }
  below.parent = upper;
  link(upper);
  link(id);
}

void RadixIndex::insert(CacheEntry parent, std::span<const TokenId> block, CacheEntry entry) {
  if (node_of_.size() <= entry.index()) {
    node_of_.resize(entry.index() + 1, none);
    depth_of_.resize(entry.index() + 1, 0);
  }
  depth_of_[entry.index()] = parent == root ? 0 : depth_of_[parent.index()] + 1;
  NodeId node = none;
  if (parent != root) {
    const Place above = place_of(parent);
    node = above.node;
    if (above.offset + 1 < length(node)) {
      split(node, above.offset + 1);
      node = node_(node).parent;
    }
  }
  if (node == none || node_(node).children > 0) {
    node = new_node(node);
    node_(node).tokens.assign(block.begin(), block.end());
    node_(node).entries.assign(1, entry);
    link(node);
  } else {
    node_(node).tokens.insert(node_(node).tokens.end(), block.begin(), block.end());
    node_(node).entries.push_back(entry);
  }
  node_of_[entry.index()] = node;
}

void RadixIndex::erase(CacheEntry entry) {
  const NodeId id = node_of_[entry.index()];
  Node& node = node_(id);
  PAGELAB_INVARIANT(node.children == 0 && node.entries.back() == entry,
                    fmt::format("entry {} goes before what continues it", entry.value()));
  node_of_[entry.index()] = none;
  if (node.entries.size() > 1) {
    node.entries.pop_back();
    node.tokens.resize(node.tokens.size() - block_size_);
    return;
  }
  unlink(id);
  node.entries.clear();
  node.tokens.clear();
  node.next = free_;
  free_ = id;
}

void RadixIndex::check_integrity() const {
  std::vector<std::int32_t> children(nodes_.size(), 0);
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    const Node& node = nodes_[i];
    if (node.entries.empty()) {
      continue;
    }
    const auto id = static_cast<NodeId>(i);
    if (node.parent != none) {
      ++children[static_cast<std::size_t>(node.parent)];
    }
    PAGELAB_INVARIANT(node.tokens.size() == node.entries.size() * block_size_, fmt::format("node {}", i));
    PAGELAB_INVARIANT(child(node.parent, block_at(id, 0)) == id, fmt::format("node {} is not found", i));
    for (std::size_t offset = 0; offset < node.entries.size(); ++offset) {
      const Place place = place_of(node.entries[offset]);
      PAGELAB_INVARIANT(place.node == id && place.offset == offset,
                        fmt::format("entry {} is not in its place", node.entries[offset].value()));
    }
  }
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    PAGELAB_INVARIANT(nodes_[i].entries.empty() || children[i] == nodes_[i].children,
                      fmt::format("node {}: {} children, {} counted", i, children[i], nodes_[i].children));
  }
}

}  // namespace pagelab
