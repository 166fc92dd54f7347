#include "kernels/emu/block_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "kernels/emu/page.h"

namespace pagelab::emu::detail {
namespace {

constexpr std::size_t kAlignment = 128;
constexpr std::size_t kCapacity = (BlockMemory::kMaxBytes + kPage - 1) / kPage * kPage;
constexpr std::size_t kGuard = 16 * kPage;  ///< wide, for accesses that miss by a row or two
constexpr std::byte kPoison{0xff};

}  // namespace

BlockMemory::BlockMemory() {
  void* mapping = mmap(nullptr, kGuard + kCapacity + kGuard, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) {
    throw std::bad_alloc();
  }
  mapping_ = static_cast<std::byte*>(mapping);
  end_ = mapping_ + kGuard + kCapacity;
  begin_ = end_;
  if (mprotect(mapping_ + kGuard, kCapacity, PROT_READ | PROT_WRITE) != 0) {
    throw std::bad_alloc();
  }
}

BlockMemory::~BlockMemory() {
  munmap(mapping_, kGuard + kCapacity + kGuard);
}

void BlockMemory::resize(std::size_t bytes) {
  bytes_ = bytes;
  begin_ = end_ - (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

void BlockMemory::poison() {
  std::fill(begin_, end_, kPoison);
}

bool BlockMemory::gap_intact() const {
  return std::all_of(begin_ + bytes_, end_, [](std::byte value) { return value == kPoison; });
}

bool BlockMemory::contains(const void* address, std::size_t bytes) const {
  const auto* first = static_cast<const std::byte*>(address);
  return first >= begin_ && bytes <= bytes_ && first <= begin_ + (bytes_ - bytes);
}

bool BlockMemory::owns(const void* address) const {
  return address >= mapping_ && address < end_ + kGuard;
}

void AsyncCopies::clear() {
  copies_.clear();
  group_ends_.clear();
}

void AsyncCopies::land(const Copy& copy) {
  if (copy.source_bytes > 0) {  // otherwise the source may be any address
    std::memcpy(copy.target, copy.source, copy.source_bytes);
  }
  std::memset(copy.target + copy.source_bytes, 0, std::size_t{copy.bytes} - copy.source_bytes);
}

}  // namespace pagelab::emu::detail
