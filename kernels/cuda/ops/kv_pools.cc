#include "kernels/cuda/ops/kv_pools.h"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string>

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {
namespace {

constexpr std::array kHeadSizes = {64, 80, 96, 128, 256};

KvShape checked(const KvShape& shape) {
  if (std::ranges::find(kHeadSizes, shape.head_size) == kHeadSizes.end()) {
    throw std::invalid_argument("heads of size " + std::to_string(shape.head_size) +
                                " are not supported on CUDA; sizes are 64, 80, 96, 128 and 256");
  }
  if (shape.block_size < 1 || shape.block_size > 256) {
    throw std::invalid_argument("blocks of " + std::to_string(shape.block_size) +
                                " slots are not supported; they have 1 to 256");
  }
  if (shape.layers < 1 || shape.kv_heads < 1 || shape.device_blocks < 1 || shape.host_blocks < 0) {
    throw std::invalid_argument("a KV cache has at least one layer, one head and one block on the device");
  }
  return shape;
}

std::size_t pool_bytes(const KvShape& shape, std::int32_t blocks) {
  return static_cast<std::size_t>(blocks) * static_cast<std::size_t>(shape.block_bytes());
}

std::string purpose(const char* tier, const KvShape& shape, std::int32_t blocks) {
  return std::string("the KV pool of the ") + tier + " (" + std::to_string(blocks) + " blocks of " +
         size_text(static_cast<std::size_t>(shape.block_bytes())) + ")";
}

}  // namespace

KvPools::KvPools(const KvShape& shape)
    : shape_(checked(shape)),
      device_(pool_bytes(shape, shape.device_blocks), purpose("device", shape, shape.device_blocks)),
      host_(pool_bytes(shape, shape.host_blocks), purpose("host", shape, shape.host_blocks)) {}

PagedKv KvPools::layer(std::int32_t index) const {
  const std::size_t part = part_bytes();
  std::byte* keys = device_.data() + static_cast<std::size_t>(index) * 2 * part;
  return {.keys = keys,
          .values = keys + part,
          .block_stride = static_cast<std::int64_t>(block_bytes() / size_of(shape_.dtype)),
          .block_size = shape_.block_size,
          .kv_heads = shape_.kv_heads,
          .head_size = shape_.head_size,
          .dtype = shape_.dtype};
}

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
