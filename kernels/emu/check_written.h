// Which bytes of a range of memory have been written, a bit each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace pagelab::emu {

class WrittenBytes {
 public:
  explicit WrittenBytes(std::size_t bytes, bool written = false)
      : bits_(bytes / 64 + 1, written ? ~std::uint64_t{0} : 0) {}

  void mark(std::size_t offset, std::size_t bytes);
  /// The offset of the first byte of the range that has not been written; its end if there is none.
  std::size_t first_unwritten(std::size_t offset, std::size_t bytes) const;
  bool all(std::size_t offset, std::size_t bytes) const {
    const std::size_t bit = offset % 64;
    if (bytes <= 32 && bit + bytes <= 64) {
      return (~bits_[offset / 64] >> bit & ((std::uint64_t{1} << bytes) - 1)) == 0;
    }
    return first_unwritten(offset, bytes) == offset + bytes;
  }
  /// These bytes become as much written as `source`'s; the ranges do not overlap.
  void copy(std::size_t offset, const WrittenBytes& source, std::size_t source_offset, std::size_t bytes);
  /// Nothing of the first `bytes` is written.
  void clear(std::size_t bytes);

 private:
  bool get(std::size_t offset) const { return (bits_[offset / 64] >> (offset % 64) & 1) != 0; }

  std::vector<std::uint64_t> bits_;
};

}  // namespace pagelab::emu
