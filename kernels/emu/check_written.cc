#include "kernels/emu/check_written.h"

#include <algorithm>

namespace pagelab::emu {
namespace {

/// `bits` < 64 ones from bit `first` on, or all up to 64.
std::uint64_t ones(std::size_t first, std::size_t bits) {
  return (bits >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << bits) - 1) << first;
}

}  // namespace

void WrittenBytes::mark(std::size_t offset, std::size_t bytes) {
  while (bytes > 0) {
    const std::size_t bit = offset % 64;
    const std::size_t count = std::min(bytes, 64 - bit);
    bits_[offset / 64] |= ones(bit, count);
    offset += count;
    bytes -= count;
  }
}

std::size_t WrittenBytes::first_unwritten(std::size_t offset, std::size_t bytes) const {
  const std::size_t end = offset + bytes;
  while (offset < end) {
    if (offset % 64 == 0 && bits_[offset / 64] == ~std::uint64_t{0}) {
      offset += 64;
    } else if (get(offset)) {
      ++offset;
    } else {
      return offset;
    }
  }
  return end;
}

void WrittenBytes::copy(std::size_t offset, const WrittenBytes& source, std::size_t source_offset,
                        std::size_t bytes) {
  while (bytes > 0) {
    if (bytes >= 64 && offset % 64 == 0 && source_offset % 64 == 0) {
      bits_[offset / 64] = source.bits_[source_offset / 64];
      offset += 64;
      source_offset += 64;
      bytes -= 64;
      continue;
    }
    const std::uint64_t bit = std::uint64_t{1} << (offset % 64);
    bits_[offset / 64] = source.get(source_offset) ? bits_[offset / 64] | bit : bits_[offset / 64] & ~bit;
    ++offset;
    ++source_offset;
    --bytes;
  }
}

void WrittenBytes::clear(std::size_t bytes) {
  std::fill_n(bits_.begin(), bytes / 64 + 1, 0);
}

}  // namespace pagelab::emu
