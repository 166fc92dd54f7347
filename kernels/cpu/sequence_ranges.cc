#include "kernels/cpu/sequence_ranges.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>

namespace pagelab::kernels::cpu {

SharedMemory::SharedMemory(std::size_t bytes) : size_(bytes) {
  if (bytes == 0) {
    return;
  }
  file_ = memfd_create("pagelab-kv", MFD_CLOEXEC);
  void* address = MAP_FAILED;
  if (file_ >= 0 && ftruncate(file_, static_cast<off_t>(bytes)) == 0) {
    address = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file_, 0);
  }
  if (address == MAP_FAILED) {
    if (file_ >= 0) {
      close(file_);
    }
    throw std::bad_alloc();
  }
  data_ = static_cast<std::byte*>(address);
}

SharedMemory::~SharedMemory() {
  if (data_ != nullptr) {
    munmap(data_, size_);
    close(file_);
  }
}

SequenceRanges::SequenceRanges(std::int32_t blocks, std::int32_t tensors, std::size_t page_bytes)
    : tensors_(tensors),
      page_bytes_(page_bytes),
      tensor_bytes_(static_cast<std::size_t>(blocks) * page_bytes),
      memory_(tensor_bytes_ * static_cast<std::size_t>(tensors)),
      ranges_(static_cast<std::size_t>(blocks)),
      places_(static_cast<std::size_t>(blocks)) {
  const auto system_page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  if (page_bytes % system_page != 0) {
    throw std::invalid_argument("KV cache: a block's K of one layer has " + std::to_string(page_bytes) +
                                " bytes; to be mapped it must be a multiple of the system's page of " +
                                std::to_string(system_page));
  }
}

SequenceRanges::~SequenceRanges() {
  for (const Range& range : ranges_) {
    if (range.base != nullptr) {
      munmap(range.base, tensor_bytes_ * static_cast<std::size_t>(tensors_));
    }
  }
}

void SequenceRanges::reserve(Range& range) const {
  void* address = mmap(nullptr, tensor_bytes_ * static_cast<std::size_t>(tensors_), PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (address == MAP_FAILED) {
    throw std::bad_alloc();
  }
  range.base = static_cast<std::byte*>(address);
}

void SequenceRanges::map(std::span<const std::int32_t> table) {
  Range& range = ranges_[static_cast<std::size_t>(table.front())];
  if (range.base == nullptr) {
    reserve(range);
  }
  if (range.blocks.size() < table.size()) {
    range.blocks.resize(table.size(), -1);
  }
  for (std::size_t index = 0; index < table.size(); ++index) {
    if (range.blocks[index] != table[index]) {
      map_block(table.front(), static_cast<std::int32_t>(index), table[index]);
    }
  }
}

void SequenceRanges::require(const void* address) const {
  if (address == MAP_FAILED) {
    throw std::runtime_error("KV cache: the system maps no more pages after " +
                             std::to_string(pages_mapped_) + " (" + std::strerror(errno) +
                             "); larger blocks need fewer, and vm.max_map_count is the limit");
  }
}

void SequenceRanges::map_block(std::int32_t range_index, std::int32_t index, std::int32_t block) {
  Range& range = ranges_[static_cast<std::size_t>(range_index)];
  Place& place = places_[static_cast<std::size_t>(block)];
  if (place.range >= 0) {
    unmap(place);
  }
  std::int32_t& mapped = range.blocks[static_cast<std::size_t>(index)];
  if (mapped >= 0) {
    places_[static_cast<std::size_t>(mapped)] = {};
  }
  for (std::int32_t tensor = 0; tensor < tensors_; ++tensor) {
    const std::size_t offset = (static_cast<std::size_t>(block) * static_cast<std::size_t>(tensors_) +
                                static_cast<std::size_t>(tensor)) *
                               page_bytes_;
    void* address = mmap(page(range, index, tensor), page_bytes_, PROT_READ, MAP_SHARED | MAP_FIXED,
                         memory_.file(), static_cast<off_t>(offset));
    require(address);
    ++pages_mapped_;
  }
  mapped = block;
  place = {range_index, index};
}

void SequenceRanges::unmap(const Place& place) {
  Range& range = ranges_[static_cast<std::size_t>(place.range)];
  range.blocks[static_cast<std::size_t>(place.index)] = -1;
  for (std::int32_t tensor = 0; tensor < tensors_; ++tensor) {
    require(mmap(page(range, place.index, tensor), page_bytes_, PROT_NONE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0));  // stays reserved
  }
}

}  // namespace pagelab::kernels::cpu
