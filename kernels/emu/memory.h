// The memory of the emulated device: its allocations and the pinned ones of the host, each a mapping of its
// own with an inaccessible guard page behind it, so that an access beyond the end faults or is seen by the
// checks.
//
//   | poison ... | begin, a multiple of 256 | bytes | poison, < 256 bytes | guard page |
//
// Fresh memory and poison are 0xff bytes (a NaN in every floating-point type). Freed ranges stay inaccessible
// for a while before their addresses are used again, so that a use after free does not hit a newer
// allocation.
//
// This is the registry alone. It does not wait for queued work (runtime.cc does, before it releases) and
// checks no access of a kernel (check.h does). Like the whole emulator it is used from one OS thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace pagelab::emu {

enum class MemoryKind : std::uint8_t { device, pinned };

struct Allocation {
  std::byte* begin = nullptr;
  std::size_t bytes = 0;  ///< as asked for
  MemoryKind kind = MemoryKind::device;
  std::uint64_t id = 0;  ///< counts up from 1, never used twice

  bool contains(const void* address) const {
    return reinterpret_cast<std::uintptr_t>(address) - reinterpret_cast<std::uintptr_t>(begin) < bytes;
  }
};

/// Maps and poisons `bytes` > 0 bytes; null if the device's limit or the host's memory does not allow it.
void* allocate(std::size_t bytes, MemoryKind kind);
/// Takes an allocation back. False if `address` is not the begin of a live one of this kind.
bool release(void* address, MemoryKind kind);
/// Takes everything back.
void release_all();

namespace detail {
extern Allocation last_found;
const Allocation* search(const void* address);
}  // namespace detail

/// The live allocation that `address` lies in, or null; neither poison nor guard page is part of one. Valid
/// until the next call of this header.
inline const Allocation* find(const void* address) {
  return detail::last_found.contains(address) ? &detail::last_found : detail::search(address);
}

/// All live allocations by address; valid until the next allocate() or release().
std::span<const Allocation> live_allocations();

constexpr std::size_t kDefaultMemoryLimit = std::size_t{8} << 30;
/// The size of the device: allocate(device) fails beyond it. Pinned memory does not count.
void set_memory_limit(std::size_t bytes);
std::size_t memory_limit();
/// Device bytes in use, each allocation rounded up to 256.
std::size_t memory_in_use();

/// Hears what happens to device and pinned memory outside of kernels; kernels' accesses go to Observer
/// (simt.h).
class MemoryListener {
 public:
  virtual ~MemoryListener() = default;
  virtual void allocated(const Allocation& allocation) = 0;
  virtual void released(const Allocation& allocation) = 0;
  /// A copy from pageable host memory, a memset or a library's kernel (cuBLAS) has written these bytes.
  virtual void written(const void* begin, std::size_t bytes) = 0;
  /// A copy from registered memory has written these bytes: they are as much initialised as their source.
  virtual void copied(void* target, const void* source, std::size_t bytes) = 0;
};

/// Not owned; null: none. One that comes late finds what is there in live_allocations().
void set_memory_listener(MemoryListener* listener);
MemoryListener* memory_listener();

}  // namespace pagelab::emu
