// KvPools: the pools of KV blocks of the device and of the host, the latter pinned and mapped, so that
// kernels reach both. Owns the memory and knows the order inside a block, the same in both pools:
//
//   [block][layer][K | V][kv head][slot][d]
//
// A block is one run of memory, and so is a layer of it, K and V of a layer each. Knows no sequence.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/ops/device_memory.h"
#include "kernels/cuda/tensor_views.h"

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {

class KvPools {
 public:
  /// Neither pool is initialised. Throws std::invalid_argument for a shape that the kernels do not have,
  /// CudaError if there is no room.
  explicit KvPools(const KvShape& shape);

  const KvShape& shape() const { return shape_; }
  std::size_t block_bytes() const { return static_cast<std::size_t>(shape_.block_bytes()); }
  /// K, or V, of one layer of a block.
  std::size_t part_bytes() const { return block_bytes() / static_cast<std::size_t>(2 * shape_.layers); }

  PagedKv layer(std::int32_t index) const;
  std::byte* device() const { return device_.data(); }
  std::byte* host() const { return host_.data(); }
  /// The host pool as kernels address it.
  std::byte* mapped_host() const { return host_.mapped(); }

 private:
  KvShape shape_;
  DeviceMemory device_;
  PinnedMemory host_;
};

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
