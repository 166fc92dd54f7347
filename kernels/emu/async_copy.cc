// Shared memory and asynchronous copies as a thread sees them.

#include <cstring>

#include "kernels/emu/machine.h"

namespace pagelab::emu {

using detail::Machine;

std::byte* shared_memory() {
  return Machine::running()->memory().begin();
}
std::size_t shared_bytes() {
  return Machine::running()->memory().bytes();
}

void async_copy(void* target, const void* source, std::size_t bytes, std::size_t source_bytes,
                std::uintptr_t pc, Site site) {
  Machine& machine = *Machine::running();
  const auto misaligned = [bytes](const void* address) {
    return reinterpret_cast<std::uintptr_t>(address) % bytes != 0;
  };
  if ((bytes != 4 && bytes != 8 && bytes != 16) || source_bytes > bytes) {
    detail::fail(KernelError::Kind::unsupported, site,
                 "cp.async of " + std::to_string(source_bytes) + " to " + std::to_string(bytes) + " bytes");
  }
  if (misaligned(target) || misaligned(source) || !machine.memory().contains(target, bytes)) {
    detail::fail(
        KernelError::Kind::illegal_address, site,
        "cp.async of " + std::to_string(bytes) +
            " bytes: source or target is not a multiple of that, or the target is not in shared memory");
  }
  if (Observer* watcher = observer()) {
    watcher->async_issued(target, bytes, source, source_bytes, pc, site);
  }
  std::memset(target, 0xff, bytes);
  machine.current()->copies.issue({static_cast<std::byte*>(target), static_cast<const std::byte*>(source),
                                   static_cast<std::uint8_t>(bytes),
                                   static_cast<std::uint8_t>(source_bytes)});
}

void async_commit() {
  Machine::running()->current()->copies.commit();
}

void async_wait(unsigned pending) {
  Machine::running()->current()->copies.wait(pending, [](const detail::AsyncCopies::Copy& copy) {
    if (Observer* watcher = observer()) {
      watcher->async_landed(copy.target, copy.bytes);
    }
  });
}

}  // namespace pagelab::emu
