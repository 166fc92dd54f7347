#include "kernels/emu/device.h"

#include <algorithm>
#include <bit>

#include "kernels/emu/machine.h"
#include "kernels/emu/tensor_core.h"

namespace pagelab::emu {
namespace {

struct ShuffleOperand {
  std::uint64_t bits;
  std::uint32_t source;  ///< lane to read
  std::uint64_t result;
};

const char* kind_of(Shuffle mode) {
  switch (mode) {
    case Shuffle::index:
      return "shfl";
    case Shuffle::up:
      return "shfl_up";
    case Shuffle::down:
      return "shfl_down";
    case Shuffle::exclusive_or:
      return "shfl_xor";
  }
  return "";
}

/// The lane that is read; the calling lane itself where the named one is outside of its segment.
std::uint32_t source_lane(Shuffle mode, std::uint32_t lane, std::uint32_t operand, std::uint32_t width) {
  const std::uint32_t segment = lane & ~(width - 1);
  const std::uint32_t offset = lane - segment;
  operand &= 31;
  switch (mode) {
    case Shuffle::index:
      return segment + (operand & (width - 1));
    case Shuffle::up:
      return operand > offset ? lane : lane - operand;
    case Shuffle::down:
      return operand >= width - offset ? lane : lane + operand;
    case Shuffle::exclusive_or:  // lower segments can be read, higher ones not
      return (lane ^ operand) >= segment + width ? lane : lane ^ operand;
  }
  return lane;
}

void tell(Access kind, const void* address, std::size_t bytes, const void* pc, Site site) {
  if (reinterpret_cast<std::uintptr_t>(address) % bytes != 0) {
    detail::fail(KernelError::Kind::illegal_address, site,
                 "accesses " + std::to_string(bytes) + " bytes at an address that is not a multiple of that");
  }
  if (Observer* watcher = observer()) {
    watcher->access(kind, address, bytes, reinterpret_cast<std::uintptr_t>(pc), site);
  }
}

template <class T, class Update>
T atomic(T* address, const void* pc, Site site, Update update) {
  atomic_operation(site);
  tell(Access::atomic, address, sizeof(T), pc, site);
  const T before = *address;
  *address = update(before);
  return before;
}

}  // namespace

std::uint64_t shuffle(std::uint32_t mask, std::uint64_t bits, std::uint32_t operand, int width, Shuffle mode,
                      Site site) {
  if (width != 1 && width != 2 && width != 4 && width != 8 && width != 16 && width != 32) {
    detail::fail(KernelError::Kind::collective, site,
                 "shuffles with a width that is no power of two up to 32");
  }
  const std::uint32_t source =
      source_lane(mode, this_thread()->lane, operand, static_cast<std::uint32_t>(width));
  ShuffleOperand own{bits, source, 0};
  warp_collective(mask, kind_of(mode), site, own,
                  [](ShuffleOperand* const(&lanes)[32], std::uint32_t present) {
                    for (; present != 0; present &= present - 1) {
                      ShuffleOperand& reader = *lanes[std::countr_zero(present)];
                      const ShuffleOperand* from = lanes[reader.source];
                      reader.result = from != nullptr ? from->bits : ~std::uint64_t{0};
                    }
                  });
  return own.result;
}

std::uint32_t ballot(std::uint32_t mask, bool predicate, const char* kind, Site site) {
  std::uint32_t own = predicate;
  warp_collective(mask, kind, site, own, [](std::uint32_t* const(&lanes)[32], std::uint32_t present) {
    std::uint32_t votes = 0;
    for (std::uint32_t rest = present; rest != 0; rest &= rest - 1) {
      const int lane = std::countr_zero(rest);
      votes |= *lanes[lane] << lane;
    }
    for (std::uint32_t rest = present; rest != 0; rest &= rest - 1) {
      *lanes[std::countr_zero(rest)] = votes;
    }
  });
  return own;
}

uint4 load16(const void* address, Site site) {
  tell(Access::read, address, 16, __builtin_return_address(0), site);
  uint4 value;
  std::memcpy(&value, address, sizeof value);
  return value;
}

void store16(void* address, uint4 value, Site site) {
  tell(Access::write, address, 16, __builtin_return_address(0), site);
  std::memcpy(address, &value, sizeof value);
}

void copy16(void* shared, const void* global, bool valid, Site site) {
  async_copy(shared, global, 16, valid ? 16 : 0,
             reinterpret_cast<std::uintptr_t>(__builtin_return_address(0)), site);
}

void load_matrices(std::uint32_t (&fragment)[4], bool transposed, const void* row, Site site) {
  load_matrices(fragment, 4, transposed, row, reinterpret_cast<std::uintptr_t>(__builtin_return_address(0)),
                site);
}

void* shared_memory(std::size_t bytes, std::size_t alignment, Site site) {
  std::byte* begin = shared_memory();
  if (bytes > shared_bytes() || alignment > 128) {
    detail::fail(KernelError::Kind::illegal_address, site,
                 "wants " + std::to_string(bytes) + " bytes of shared memory, aligned to " +
                     std::to_string(alignment) + "; the launch gave " + std::to_string(shared_bytes()));
  }
  return begin;
}

}  // namespace pagelab::emu

// The address that an observer hears of must be the kernel's: each function takes its own return address.
// NOLINTBEGIN(bugprone-macro-parentheses): T is a type.
#define PAGELAB_ATOMIC(name, T, update)                                     \
  T name(T* address, T value, pagelab::emu::Site site) {                    \
    return pagelab::emu::atomic(address, __builtin_return_address(0), site, \
                                [value](T before) -> T { return update; }); \
  }
// NOLINTEND(bugprone-macro-parentheses)

PAGELAB_ATOMIC(atomicAdd, int, static_cast<int>(static_cast<unsigned>(before) + static_cast<unsigned>(value)))
PAGELAB_ATOMIC(atomicAdd, unsigned, before + value)
PAGELAB_ATOMIC(atomicAdd, float, before + value)
PAGELAB_ATOMIC(atomicAdd, unsigned long long, before + value)
PAGELAB_ATOMIC(atomicMax, int, std::max(before, value))
PAGELAB_ATOMIC(atomicMax, unsigned, std::max(before, value))
PAGELAB_ATOMIC(atomicMin, int, std::min(before, value))
PAGELAB_ATOMIC(atomicMin, unsigned, std::min(before, value))
PAGELAB_ATOMIC(atomicExch, int, (static_cast<void>(before), value))
PAGELAB_ATOMIC(atomicExch, unsigned, (static_cast<void>(before), value))
#undef PAGELAB_ATOMIC

int atomicCAS(int* address, int compare, int value, pagelab::emu::Site site) {
  return pagelab::emu::atomic(address, __builtin_return_address(0), site,
                              [=](int before) { return before == compare ? value : before; });
}
unsigned atomicCAS(unsigned* address, unsigned compare, unsigned value, pagelab::emu::Site site) {
  return pagelab::emu::atomic(address, __builtin_return_address(0), site,
                              [=](unsigned before) { return before == compare ? value : before; });
}
