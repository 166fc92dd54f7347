#include "kernels/cpu/huge_memory.h"

#include <sys/mman.h>

#include <cstdint>
#include <limits>
#include <new>

namespace pagelab::kernels::cpu {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kHugePage = std::size_t{2} << 20;

std::size_t round_up(std::size_t value, std::size_t unit) {
  return (value + unit - 1) / unit * unit;
}

void* map(std::size_t bytes) {
  void* address = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (address == MAP_FAILED) {
    throw std::bad_alloc();
  }
  return address;
}

}  // namespace

HugeMemory::HugeMemory(std::size_t bytes) {
  if (bytes == 0) {
    return;
  }
  if (bytes > std::numeric_limits<std::size_t>::max() - 2 * kHugePage) {
    throw std::bad_alloc();
  }
  if (bytes < kHugePage) {
    size_ = round_up(bytes, kPage);
    data_ = static_cast<std::byte*>(map(size_));
    return;
  }
  // Map one huge page more than needed and give back what lies outside the aligned range.
  size_ = round_up(bytes, kHugePage);
  auto* mapped = static_cast<std::byte*>(map(size_ + kHugePage));
  const std::size_t before = round_up(reinterpret_cast<std::uintptr_t>(mapped), kHugePage) -
                             reinterpret_cast<std::uintptr_t>(mapped);
  data_ = mapped + before;
  if (before > 0) {
    munmap(mapped, before);
  }
  if (before < kHugePage) {
    munmap(data_ + size_, kHugePage - before);
  }
  madvise(data_, size_, MADV_HUGEPAGE);  // a hint: refusal costs speed only
}

HugeMemory::~HugeMemory() {
  if (data_ != nullptr) {
    munmap(data_, size_);
  }
}

}  // namespace pagelab::kernels::cpu
