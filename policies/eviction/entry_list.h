// EntryLists: doubly linked lists through cache entries, for eviction policies. An entry is in one list of
// the object or in none; links are two flat arrays, so that every operation takes constant time and no
// memory. Owns the links alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/eviction.h"

namespace pagelab {

class EntryLists {
 public:
  /// `lists` empty lists over entries 0 .. entries - 1; a list is named by its number from 0.
  EntryLists(std::int32_t entries, std::int32_t lists)
      : links_(static_cast<std::size_t>(entries + lists)),
        sizes_(static_cast<std::size_t>(lists)),
        entries_(entries) {
    for (std::int32_t node = 0; node < entries + lists; ++node) {
      links_[static_cast<std::size_t>(node)] = {node, node, -1};
    }
  }

  bool empty(std::int32_t list) const { return size(list) == 0; }
  std::int64_t size(std::int32_t list) const { return sizes_[static_cast<std::size_t>(list)]; }
  /// The list that an entry is in, or -1.
  std::int32_t list_of(CacheEntry entry) const { return links_[entry.index()].list; }

  /// The first entry of a list that is not empty.
  CacheEntry front(std::int32_t list) const { return CacheEntry(head(list).next); }
  CacheEntry back(std::int32_t list) const { return CacheEntry(head(list).previous); }
  /// The neighbour of an entry in its list; end(list) behind the last and before the first.
  CacheEntry next(CacheEntry entry) const { return CacheEntry(links_[entry.index()].next); }
  CacheEntry previous(CacheEntry entry) const { return CacheEntry(links_[entry.index()].previous); }
  CacheEntry end(std::int32_t list) const { return CacheEntry(entries_ + list); }

  /// Puts an entry that is in no list at the end or the start of one.
  void push_back(std::int32_t list, CacheEntry entry) { insert_before(list, entry, entries_ + list); }
  void push_front(std::int32_t list, CacheEntry entry) { insert_before(list, entry, head(list).next); }
  /// Takes an entry out of its list.
  void remove(CacheEntry entry) {
    Link& link = links_[entry.index()];
    links_[static_cast<std::size_t>(link.previous)].next = link.next;
    links_[static_cast<std::size_t>(link.next)].previous = link.previous;
    --sizes_[static_cast<std::size_t>(link.list)];
    link.list = -1;
  }

 private:
  struct Link {
    std::int32_t previous;
    std::int32_t next;
    std::int32_t list;
  };

  /// Each list is a ring through a node of its own, behind the entries'.
  const Link& head(std::int32_t list) const { return links_[static_cast<std::size_t>(entries_ + list)]; }
  void insert_before(std::int32_t list, CacheEntry entry, std::int32_t place) {
    Link& behind = links_[static_cast<std::size_t>(place)];
    links_[entry.index()] = {behind.previous, place, list};
    links_[static_cast<std::size_t>(behind.previous)].next = entry.value();
    behind.previous = entry.value();
    ++sizes_[static_cast<std::size_t>(list)];
  }

  std::vector<Link> links_;
  std::vector<std::int64_t> sizes_;
  std::int32_t entries_;
};

}  // namespace pagelab
