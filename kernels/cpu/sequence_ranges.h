// SequenceRanges: the K and V of every sequence at adjacent addresses although their blocks lie anywhere in
// the pool (vAttention, ASPLOS 2025, section 5): each sequence has a range of virtual addresses for K and one
// for V of each layer, reserved without memory, into which the pages of its blocks are mapped when it gets
// them.
//
// A block is one page of every such tensor. A sequence is known by its first block, so no two may begin with
// the same one, and a block is in one range at most: a page that another range takes is unmapped where it
// was, which is when the pages of a sequence that has ended go (deferred reclamation, section 6.1). Owns the
// pool's memory, whose pages come into being when first used, and the ranges.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace pagelab::kernels::cpu {

/// Zeroed memory that can be mapped in several places.
class SharedMemory {
 public:
  SharedMemory() = default;
  /// Throws std::bad_alloc.
  explicit SharedMemory(std::size_t bytes);
  ~SharedMemory();
  SharedMemory(SharedMemory&&) = delete;
  SharedMemory& operator=(SharedMemory&&) = delete;

  /// Where all of it is mapped, in order; null when empty.
  std::byte* data() const { return data_; }
  int file() const { return file_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  int file_ = -1;
};

class SequenceRanges {
 public:
  /// A pool of `blocks` blocks, each `tensors` pages one after the other. Throws std::invalid_argument if a
  /// page is not a multiple of the system's, std::bad_alloc if there is no room.
  SequenceRanges(std::int32_t blocks, std::int32_t tensors, std::size_t page_bytes);
  ~SequenceRanges();
  SequenceRanges(SequenceRanges&&) = delete;
  SequenceRanges& operator=(SequenceRanges&&) = delete;

  /// The pool itself, block by block.
  std::byte* pool() const { return memory_.data(); }

  /// Makes the range of a sequence hold the blocks of its table, in order. Throws std::runtime_error if the
  /// system maps no more pages.
  void map(std::span<const std::int32_t> table);
  /// The start of one tensor of the sequence that begins with `first_block`; pages follow each other.
  /// Requires that map() was called for it.
  const std::byte* tensor(std::int32_t first_block, std::int32_t tensor) const {
    return ranges_[static_cast<std::size_t>(first_block)].base +
           static_cast<std::size_t>(tensor) * tensor_bytes_;
  }

  /// Pages mapped so far, over all tensors; what costs time.
  std::int64_t pages_mapped() const { return pages_mapped_; }

 private:
  struct Range {
    std::byte* base = nullptr;         ///< null: not reserved yet
    std::vector<std::int32_t> blocks;  ///< by place; -1: none is mapped there
  };
  struct Place {
    std::int32_t range = -1;
    std::int32_t index = 0;
  };

  void reserve(Range& range) const;
  /// Throws unless mmap() gave an address.
  void require(const void* address) const;
  void map_block(std::int32_t range, std::int32_t index, std::int32_t block);
  void unmap(const Place& place);
  std::byte* page(const Range& range, std::int32_t index, std::int32_t tensor) const {
    return range.base + static_cast<std::size_t>(tensor) * tensor_bytes_ +
           static_cast<std::size_t>(index) * page_bytes_;
  }

  std::int32_t tensors_;
  std::size_t page_bytes_;
  std::size_t tensor_bytes_;  ///< of addresses: room for every block of the pool
  SharedMemory memory_;
  std::vector<Range> ranges_;  ///< by first block
  std::vector<Place> places_;  ///< of each block
  std::int64_t pages_mapped_ = 0;
};

}  // namespace pagelab::kernels::cpu
