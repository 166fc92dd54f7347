// Arena: memory of one step, handed out front to back and taken back all at once. Owns chunks of `Memory`
// (DeviceMemory or PinnedMemory); only the last one is handed out from. A step that outgrows the chunk gets
// another one; before the next step all chunks become one that holds what that step needed, so a step
// allocates only if it is the largest so far, and equal steps get equal addresses. Knows no stream: settle()
// is called when nothing queued uses the memory.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

#include "kernels/cuda/ops/device_memory.h"

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {

template <class Memory>
class Arena {
 public:
  /// Every allocation begins at a multiple of this.
  static constexpr std::size_t kAlignment = 256;

  Arena(std::string purpose, std::size_t bytes) : purpose_(std::move(purpose)) { add_chunk(bytes); }

  /// Valid until reset().
  template <class T>
  T* take(std::size_t count) {
    T* begin = peek<T>(count);
    used_ += rounded(count * sizeof(T));
    return begin;
  }
  /// The same memory that the next take() or peek() returns: for what the operation queued next needs and
  /// none after it.
  template <class T>
  T* peek(std::size_t count) {
    const std::size_t bytes = rounded(count * sizeof(T));
    if (chunks_.back().size() - used_ < bytes) {
      add_chunk(std::max(bytes, kGrowth));
    }
    return reinterpret_cast<T*>(chunks_.back().data() + used_);
  }

  void reset() { used_ = 0; }
  /// There is more than one chunk; to be settled before reset().
  bool outgrown() const { return chunks_.size() > 1; }
  /// Makes the chunks one. Nothing may use them any more.
  void settle() {
    std::size_t total = 0;
    for (const Memory& chunk : chunks_) {
      total += chunk.size();
    }
    chunks_.clear();
    add_chunk(total);
  }

 private:
  /// Chunks grow by at least this much, so that the first steps settle quickly.
  static constexpr std::size_t kGrowth = std::size_t{1} << 20;

  static std::size_t rounded(std::size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }
  void add_chunk(std::size_t bytes) {
    chunks_.emplace_back(rounded(bytes), purpose_);
    used_ = 0;
  }

  std::string purpose_;
  std::vector<Memory> chunks_;
  std::size_t used_ = 0;  ///< bytes of the last chunk
};

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
