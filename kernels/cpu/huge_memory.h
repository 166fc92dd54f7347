// HugeMemory: one large zeroed allocation for weights, activations and KV pools, backed by huge pages where
// the system offers them (small pages cost up to 17 % of paged attention's bandwidth). Owns its pages and
// gives them back when destroyed; movable. Pages are touched by the first write, not here. Knows nothing of
// what it holds.
#pragma once

#include <cstddef>
#include <utility>

namespace pagelab::kernels::cpu {

class HugeMemory {
 public:
  HugeMemory() = default;
  /// At least `bytes` bytes, all zero, aligned to 2 MiB from 2 MiB upwards and to a page below.
  /// Throws std::bad_alloc.
  explicit HugeMemory(std::size_t bytes);
  ~HugeMemory();
  HugeMemory(HugeMemory&& other) noexcept { swap(other); }
  HugeMemory& operator=(HugeMemory&& other) noexcept {
    HugeMemory moved(std::move(other));
    swap(moved);
    return *this;
  }

  /// Null when empty.
  std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }

 private:
  void swap(HugeMemory& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
  }

  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace pagelab::kernels::cpu
