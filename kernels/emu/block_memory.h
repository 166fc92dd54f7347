// What a block has besides its threads: shared memory between guard pages, and each thread's asynchronous
// copies (cp.async) under way to it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace pagelab::emu::detail {

/// Owns the pages of shared memory. The block's bytes end at the guard page, less a gap that keeps their
/// begin 128-byte aligned; a write into the gap is found when the block ends.
class BlockMemory {
 public:
  BlockMemory();
  ~BlockMemory();
  BlockMemory(const BlockMemory&) = delete;
  BlockMemory& operator=(const BlockMemory&) = delete;

  static constexpr std::size_t kMaxBytes = 163 * 1024;  ///< of a block on sm_80

  void resize(std::size_t bytes);
  /// Fills the block's bytes and the gap with poison.
  void poison();
  bool gap_intact() const;

  std::byte* begin() const { return begin_; }
  std::size_t bytes() const { return bytes_; }
  bool contains(const void* address, std::size_t bytes) const;
  /// Within the guard pages or the part that this launch does not use.
  bool owns(const void* address) const;

 private:
  std::byte* mapping_;
  std::byte* end_;  ///< where the guard page begins
  std::byte* begin_;
  std::size_t bytes_ = 0;
};

/// The copies of one thread. Groups are closed by commit() and land oldest first.
class AsyncCopies {
 public:
  struct Copy {
    std::byte* target;
    const std::byte* source;
    std::uint8_t bytes;
    std::uint8_t source_bytes;
  };

  bool idle() const { return copies_.empty() && group_ends_.empty(); }
  /// Keeps its memory.
  void clear();
  void issue(const Copy& copy) { copies_.push_back(copy); }
  void commit() { group_ends_.push_back(static_cast<std::uint32_t>(copies_.size())); }
  /// Lands all closed groups but the newest `pending`; calls `landed(copy)` for each copy.
  template <class Landed>
  void wait(unsigned pending, Landed landed) {
    if (group_ends_.size() <= pending) {
      return;
    }
    const std::size_t groups = group_ends_.size() - pending;
    const std::uint32_t end = group_ends_[groups - 1];
    for (std::uint32_t index = 0; index < end; ++index) {
      land(copies_[index]);
      landed(copies_[index]);
    }
    copies_.erase(copies_.begin(), copies_.begin() + end);
    group_ends_.erase(group_ends_.begin(), group_ends_.begin() + static_cast<std::ptrdiff_t>(groups));
    for (std::uint32_t& group_end : group_ends_) {
      group_end -= end;
    }
  }

 private:
  static void land(const Copy& copy);

  std::vector<Copy> copies_;               ///< in order of issue
  std::vector<std::uint32_t> group_ends_;  ///< closed groups: index behind their last copy
};

}  // namespace pagelab::emu::detail
