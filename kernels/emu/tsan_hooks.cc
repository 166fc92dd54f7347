// The functions that clang's -fsanitize=thread calls at every access of memory. Here they tell the observer
// of the launch, if there is one, instead of ThreadSanitizer's runtime, which programs with instrumented
// kernels do not link. An instrumented kernel need not be the whole program: outside of a launch the hooks do
// nothing.
//
// Not memory of a kernel, and passed over: the stack of the thread's own fiber (local variables and
// parameters) and the image of the program (constants, thread and block indices). What an instrumented file
// gives to memcpy, memmove and memset comes here by instrumented.h.
//
// clang calls the hooks as functions that never throw, and the frames of kernels may not be unwindable there:
// what the observer throws ends the launch by abandon_launch().
#include <link.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>

#include "kernels/emu/machine.h"
#include "kernels/emu/simt.h"

namespace pagelab::emu {
namespace {

struct Image {
  const std::byte* begin = nullptr;
  const std::byte* end = nullptr;
};

/// What the running program itself was loaded to, shared libraries apart.
Image program_image() {
  Image image;
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* result) {
        auto& whole = *static_cast<Image*>(result);
        for (int index = 0; index < info->dlpi_phnum; ++index) {
          const auto& header = info->dlpi_phdr[index];
          if (header.p_type == PT_LOAD) {
            const auto* begin = reinterpret_cast<const std::byte*>(  // NOLINT(performance-no-int-to-ptr)
                info->dlpi_addr + header.p_vaddr);
            whole.begin = whole.begin == nullptr ? begin : std::min(whole.begin, begin);
            whole.end = std::max(whole.end, begin + header.p_memsz);
          }
        }
        return 1;  // the first one is the program
      },
      &image);
  return image;
}

const Image kProgram = program_image();

/// Hooks that are called while the observer works are the observer's own, in inline functions that the linker
/// shares.
bool telling = false;

void tell(Observer& watcher, Access kind, const void* address, std::size_t bytes, const void* pc) {
  std::exception_ptr error;
  telling = true;
  try {
    watcher.access(kind, address, bytes, reinterpret_cast<std::uintptr_t>(pc), {});
  } catch (...) {
    error = std::current_exception();
  }
  telling = false;
  if (error) {
    abandon_launch(error);
  }
}

void accessed(Access kind, const void* address, std::size_t bytes, const void* pc) {
  Observer* watcher = observer();
  if (watcher == nullptr || telling) {
    return;
  }
  const detail::Slot* thread = detail::Machine::instance().current();
  if (thread == nullptr || thread->fiber == nullptr) {
    return;
  }
  const auto* at = static_cast<const std::byte*>(address);
  if ((at < kProgram.begin || at >= kProgram.end) &&
      (at < thread->fiber->stack_begin() || at >= thread->fiber->stack_end())) {
    tell(*watcher, kind, address, bytes, pc);
  }
}

/// An access that the compiler made of parts whose alignment it knew to be less than the whole: a GPU makes
/// it in parts.
void accessed_unaligned(Access kind, const void* address, std::size_t bytes, const void* pc) {
  const auto* at = static_cast<const std::byte*>(address);
  while (bytes > 0) {
    const std::size_t part = std::size_t{1}
                             << std::countr_zero(reinterpret_cast<std::uintptr_t>(at) | bytes | 16);
    accessed(kind, at, part, pc);
    at += part;
    bytes -= part;
  }
}

}  // namespace
}  // namespace pagelab::emu

using pagelab::emu::Access;
using pagelab::emu::accessed;
using pagelab::emu::accessed_unaligned;

// NOLINTBEGIN(bugprone-reserved-identifier): the names are clang's.
#define PAGELAB_TSAN_HOOKS(size)                                                   \
  void __tsan_read##size(void* address) {                                          \
    accessed(Access::read, address, size, __builtin_return_address(0));            \
  }                                                                                \
  void __tsan_write##size(void* address) {                                         \
    accessed(Access::write, address, size, __builtin_return_address(0));           \
  }                                                                                \
  void __tsan_read_write##size(void* address) {                                    \
    accessed(Access::read, address, size, __builtin_return_address(0));            \
    accessed(Access::write, address, size, __builtin_return_address(0));           \
  }                                                                                \
  void __tsan_unaligned_read##size(void* address) {                                \
    accessed_unaligned(Access::read, address, size, __builtin_return_address(0));  \
  }                                                                                \
  void __tsan_unaligned_write##size(void* address) {                               \
    accessed_unaligned(Access::write, address, size, __builtin_return_address(0)); \
  }                                                                                \
  void __tsan_unaligned_read_write##size(void* address) {                          \
    accessed_unaligned(Access::read, address, size, __builtin_return_address(0));  \
    accessed_unaligned(Access::write, address, size, __builtin_return_address(0)); \
  }

extern "C" {

PAGELAB_TSAN_HOOKS(1)
PAGELAB_TSAN_HOOKS(2)
PAGELAB_TSAN_HOOKS(4)
PAGELAB_TSAN_HOOKS(8)
PAGELAB_TSAN_HOOKS(16)

void __tsan_read_range(void* address, std::size_t bytes) {
  accessed_unaligned(Access::read, address, bytes, __builtin_return_address(0));
}
void __tsan_write_range(void* address, std::size_t bytes) {
  accessed_unaligned(Access::write, address, bytes, __builtin_return_address(0));
}
void* __tsan_memcpy(void* target, const void* source, std::size_t bytes) {
  accessed_unaligned(Access::read, source, bytes, __builtin_return_address(0));
  accessed_unaligned(Access::write, target, bytes, __builtin_return_address(0));
  return std::memcpy(target, source, bytes);
}
void* __tsan_memmove(void* target, const void* source, std::size_t bytes) {
  accessed_unaligned(Access::read, source, bytes, __builtin_return_address(0));
  accessed_unaligned(Access::write, target, bytes, __builtin_return_address(0));
  return std::memmove(target, source, bytes);
}
void* __tsan_memset(void* target, int value, std::size_t bytes) {
  accessed_unaligned(Access::write, target, bytes, __builtin_return_address(0));
  return std::memset(target, value, bytes);
}

// Kernels have no virtual functions; host code beside them may, outside of launches.
void __tsan_vptr_read(void**) {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_init() {}

}  // extern "C"
// NOLINTEND(bugprone-reserved-identifier)
