// EntryLists: doubly linked lists through cache entries, for eviction policies. An entry is in one list of
// the object or in none; links are one flat array, so that every operation takes constant time and no memory.
// Owns the links alone.
//
// What evict() meets in use is parked: it stays a member of its list and counts in its size, but is not met
// again until unpark() puts it back (on release or expose). So evict() never walks over the same entry in use
// twice.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/eviction.h"

namespace pagelab {

class EntryLists {
 public:
  EntryLists() = default;
  /// `lists` empty lists over entries 0 .. entries - 1; a list is named by its number from 0.
  EntryLists(std::int32_t entries, std::int32_t lists)
      : links_(static_cast<std::size_t>(entries + lists)),
        sizes_(static_cast<std::size_t>(lists)),
        entries_(entries) {
    for (std::int32_t node = 0; node < entries + lists; ++node) {
      links_[static_cast<std::size_t>(node)] = {node, node, -1};
    }
  }

  /// Members of a list, parked ones included.
  std::int64_t size(std::int32_t list) const { return sizes_[static_cast<std::size_t>(list)]; }
  /// Whether a list has no member that is not parked.
  bool all_parked(std::int32_t list) const { return front(list) == end(list); }
  /// The list that an entry is a member of, or -1.
  std::int32_t list_of(CacheEntry entry) const { return links_[entry.index()].list; }
  bool is_parked(CacheEntry entry) const {
    return list_of(entry) >= 0 && links_[entry.index()].next == entry.value();
  }

  /// The first member of a list that is not parked; end(list) if there is none.
  CacheEntry front(std::int32_t list) const {
    return CacheEntry(links_[static_cast<std::size_t>(entries_ + list)].next);
  }
  /// The member behind one that is not parked; end(list) behind the last.
  CacheEntry next(CacheEntry entry) const { return CacheEntry(links_[entry.index()].next); }
  CacheEntry end(std::int32_t list) const { return CacheEntry(entries_ + list); }
  /// The first member of a list that can be evicted; those in use before it are parked. end(list) if there is
  /// none.
  CacheEntry first_evictable(std::int32_t list, const CacheView& cache) {
    CacheEntry entry = front(list);
    while (entry != end(list) && !cache.evictable(entry)) {
      park(entry);
      entry = front(list);
    }
    return entry;
  }

  /// Puts an entry that is in no list at the end of one.
  void push_back(std::int32_t list, CacheEntry entry) {
    link_before(end(list), entry);
    links_[entry.index()].list = list;
    ++sizes_[static_cast<std::size_t>(list)];
  }
  /// Takes an entry out of its list.
  void remove(CacheEntry entry) {
    unlink(entry);
    --sizes_[static_cast<std::size_t>(links_[entry.index()].list)];
    links_[entry.index()].list = -1;
  }
  /// Moves a member of any list, parked or not, to the end of `list`.
  void move_to_back(std::int32_t list, CacheEntry entry) {
    remove(entry);
    push_back(list, entry);
  }

  /// A parked entry is a ring of its own.
  void park(CacheEntry entry) {
    unlink(entry);
    Link& link = links_[entry.index()];
    link.previous = link.next = entry.value();
  }
  /// Puts an entry back at the front of its list if it is parked.
  void unpark(CacheEntry entry) {
    if (is_parked(entry)) {
      link_before(front(list_of(entry)), entry);
    }
  }
  /// Puts a parked entry back before `place`, a member of its list that is not parked, or its end.
  void unpark_before(CacheEntry place, CacheEntry entry) { link_before(place, entry); }

 private:
  struct Link {
    std::int32_t previous;
    std::int32_t next;
    std::int32_t list;
  };

  /// Each list is a ring through a node of its own, behind the entries'.
  void link_before(CacheEntry place, CacheEntry entry) {
    Link& behind = links_[place.index()];
    Link& link = links_[entry.index()];
    link.previous = behind.previous;
    link.next = place.value();
    links_[static_cast<std::size_t>(behind.previous)].next = entry.value();
    behind.previous = entry.value();
  }
  void unlink(CacheEntry entry) {
    const Link& link = links_[entry.index()];
    links_[static_cast<std::size_t>(link.previous)].next = link.next;
    links_[static_cast<std::size_t>(link.next)].previous = link.previous;
  }

  std::vector<Link> links_;
  std::vector<std::int64_t> sizes_;
  std::int32_t entries_ = 0;
};

}  // namespace pagelab
