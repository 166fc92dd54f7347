#include "kernels/emu/memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <vector>

namespace pagelab::emu {
namespace {

constexpr std::size_t kAlignment = 256;
constexpr std::size_t kQuarantined = 64;

/// An address range, guard page included.
struct Mapping {
  void* begin = nullptr;
  std::size_t bytes = 0;
};

struct Registry {
  std::vector<Allocation> live;  ///< by address
  std::array<Mapping, kQuarantined> quarantine{};
  std::size_t oldest = 0;  ///< of the quarantine, which is a ring
  std::size_t limit = kDefaultMemoryLimit;
  std::size_t in_use = 0;
  std::uint64_t last_id = 0;
  MemoryListener* listener = nullptr;
};

Registry& registry() {
  static Registry instance;
  return instance;
}

constexpr std::size_t round_up(std::size_t value, std::size_t unit) {
  return (value + unit - 1) / unit * unit;
}

std::size_t page_size() {
  static const auto size = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  return size;
}

Mapping mapping_of(const Allocation& allocation) {
  const std::size_t page = page_size();
  const auto begin = reinterpret_cast<std::uintptr_t>(allocation.begin);
  const std::uintptr_t first = begin / page * page;
  const std::uintptr_t guard = begin + round_up(allocation.bytes, kAlignment);
  return {allocation.begin - (begin - first), guard + page - first};
}

/// Index of the first live allocation that begins behind `address`.
std::size_t index_behind(const void* address) {
  const std::vector<Allocation>& live = registry().live;
  const auto behind =
      std::upper_bound(live.begin(), live.end(), address, [](const void* key, const Allocation& entry) {
        return std::less<>()(key, static_cast<const void*>(entry.begin));
      });
  return static_cast<std::size_t>(behind - live.begin());
}

/// Gives the pages back and keeps the addresses out of use; the oldest addresses of the ring become free.
void quarantine(const Mapping& mapping) {
  Registry& state = registry();
  (void)mmap(mapping.begin, mapping.bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE,
             -1, 0);
  Mapping& slot = state.quarantine[state.oldest];
  state.oldest = (state.oldest + 1) % kQuarantined;
  if (slot.begin != nullptr) {
    munmap(slot.begin, slot.bytes);
  }
  slot = mapping;
}

}  // namespace

namespace detail {

Allocation last_found;

const Allocation* search(const void* address) {
  const std::size_t behind = index_behind(address);
  if (behind == 0) {
    return nullptr;
  }
  const Allocation& candidate = registry().live[behind - 1];
  if (!candidate.contains(address)) {
    return nullptr;
  }
  last_found = candidate;
  return &last_found;
}

}  // namespace detail

void* allocate(std::size_t bytes, MemoryKind kind) {
  Registry& state = registry();
  const std::size_t page = page_size();
  if (bytes > SIZE_MAX - 2 * page) {
    return nullptr;
  }
  const std::size_t charged = round_up(bytes, kAlignment);
  const std::size_t room = state.limit - std::min(state.limit, state.in_use);
  if (kind == MemoryKind::device && charged > room) {
    return nullptr;
  }
  const std::size_t usable = round_up(charged, page);
  void* mapped = mmap(nullptr, usable + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) {
    return nullptr;
  }
  auto* first = static_cast<std::byte*>(mapped);
  mprotect(first + usable, page, PROT_NONE);
  std::memset(first, 0xff, usable);

  const Allocation allocation{first + usable - charged, bytes, kind, ++state.last_id};
  state.live.insert(state.live.begin() + static_cast<std::ptrdiff_t>(index_behind(allocation.begin)),
                    allocation);
  state.in_use += kind == MemoryKind::device ? charged : 0;
  if (state.listener != nullptr) {
    state.listener->allocated(allocation);
  }
  return allocation.begin;
}

bool release(void* address, MemoryKind kind) {
  Registry& state = registry();
  const std::size_t behind = index_behind(address);
  if (behind == 0 || state.live[behind - 1].begin != address || state.live[behind - 1].kind != kind) {
    return false;
  }
  const Allocation allocation = state.live[behind - 1];
  state.live.erase(state.live.begin() + static_cast<std::ptrdiff_t>(behind - 1));
  detail::last_found = {};
  state.in_use -= kind == MemoryKind::device ? round_up(allocation.bytes, kAlignment) : 0;
  if (state.listener != nullptr) {
    state.listener->released(allocation);
  }
  quarantine(mapping_of(allocation));
  return true;
}

void release_all() {
  while (!live_allocations().empty()) {
    const Allocation last = live_allocations().back();
    release(last.begin, last.kind);
  }
}

std::span<const Allocation> live_allocations() {
  return registry().live;
}

void set_memory_limit(std::size_t bytes) {
  registry().limit = bytes;
}
std::size_t memory_limit() {
  return registry().limit;
}
std::size_t memory_in_use() {
  return registry().in_use;
}

void set_memory_listener(MemoryListener* listener) {
  registry().listener = listener;
}
MemoryListener* memory_listener() {
  return registry().listener;
}

}  // namespace pagelab::emu
