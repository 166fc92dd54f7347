// emplace(): one element more at the end of a list, for the loops that run once per sequence and step.
//
// The same as std::vector::emplace_back(), but with the growth of the list in a function of its own. It is
// rare, since the lists of a step keep their memory, and copied into a loop it would take that loop's
// registers.
#pragma once

#include <vector>

namespace pagelab {

template <class T>
[[gnu::noinline, gnu::cold]] T& emplace_growing(std::vector<T>& list) {
  return list.emplace_back();
}

/// Adds a value-initialised element and returns it, to be filled in place.
template <class T>
[[gnu::always_inline]] inline T& emplace(std::vector<T>& list) {
  if (list.size() == list.capacity()) [[unlikely]] {
    return emplace_growing(list);
  }
  return list.emplace_back();
}

}  // namespace pagelab
