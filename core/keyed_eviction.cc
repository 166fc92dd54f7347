#include "core/keyed_eviction.h"

#include <cmath>

#include <fmt/format.h>

#include "core/error.h"

namespace pagelab {

void KeyedEviction::start(const CacheView& cache, ForgottenEntries&) {
  cache_ = &cache;
  now_ = 0;
  const auto entries = static_cast<std::size_t>(cache.entries());
  blocks_.assign(entries, {});
  keys_.assign(entries, 0.0);
  places_.assign(entries, -1);
  heap_.clear();
  heap_.reserve(entries);
}

void KeyedEviction::insert(CacheEntry entry) {
  blocks_[entry.index()] = {
      .entry = entry, .depth = cache_->depth(entry), .uses = 1, .last_use = ++now_, .inserted = now_};
  rank(entry);
}

void KeyedEviction::touch(CacheEntry entry) {
  CachedBlock& block = blocks_[entry.index()];
  ++block.uses;
  block.last_use = ++now_;
  rank(entry);
}

void KeyedEviction::release(CacheEntry entry) {
  blocks_[entry.index()].last_use = ++now_;
  rank(entry);
}

void KeyedEviction::expose(CacheEntry entry) {
  if (places_[entry.index()] < 0) {
    heap_.emplace_back();
    sift_up(heap_.size() - 1, {keys_[entry.index()], blocks_[entry.index()].last_use, entry});
  }
}

CacheEntry KeyedEviction::evict() {
  for (;;) {
    const CacheEntry first = heap_.front().entry;
    pop();
    if (cache_->evictable(first)) {
      return first;
    }
  }
}

/// Asks for the key of an entry and moves the entry, in the heap or not, to its place.
void KeyedEviction::rank(CacheEntry entry) {
  const CachedBlock& block = blocks_[entry.index()];
  const double key = this->key(block);
  if (std::isnan(key)) {
    throw PolicyError(fmt::format("key() is NaN for entry {} at depth {}; a key must be a number",
                                  entry.value(), block.depth));
  }
  const Node node{key, block.last_use, entry};
  keys_[entry.index()] = key;
  if (places_[entry.index()] < 0) {
    heap_.emplace_back();
    sift_up(heap_.size() - 1, node);
    return;
  }
  const auto place = static_cast<std::size_t>(places_[entry.index()]);
  if (node < heap_[place]) {
    sift_up(place, node);
  } else {
    sift_down(place, node);
  }
}

void KeyedEviction::put(std::size_t place, const Node& node) {
  heap_[place] = node;
  places_[node.entry.index()] = static_cast<std::int32_t>(place);
}

void KeyedEviction::sift_up(std::size_t place, const Node& node) {
  while (place > 0) {
    const std::size_t parent = (place - 1) / 2;
    if (!(node < heap_[parent])) {
      break;
    }
    put(place, heap_[parent]);
    place = parent;
  }
  put(place, node);
}

void KeyedEviction::sift_down(std::size_t place, const Node& node) {
  for (;;) {
    std::size_t child = 2 * place + 1;
    if (child >= heap_.size()) {
      break;
    }
    if (child + 1 < heap_.size() && heap_[child + 1] < heap_[child]) {
      ++child;
    }
    if (!(heap_[child] < node)) {
      break;
    }
    put(place, heap_[child]);
    place = child;
  }
  put(place, node);
}

/// Takes the first entry out of the heap.
void KeyedEviction::pop() {
  places_[heap_.front().entry.index()] = -1;
  const Node last = heap_.back();
  heap_.pop_back();
  if (!heap_.empty()) {
    sift_down(0, last);
  }
}

}  // namespace pagelab
