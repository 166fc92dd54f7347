// What measurements run on: KV pools that lie in memory and hold ordinary numbers, activations that are
// neither zero nor denormal, and batches of random tokens over blocks in random order. All of it is drawn
// from one fixed seed.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/device.h"
#include "kernels/ops.h"

namespace pagelab {

/// Of all that calibration draws, random weights included.
inline constexpr std::uint64_t calibration_seed = 1;

/// `count` tokens from position `first` on; the last one's next token is sampled.
struct ChunkShape {
  std::int32_t first = 0;
  std::int32_t count = 0;
};

/// Blocks that hold a chunk and its context.
std::size_t blocks_of(const ChunkShape& chunk, std::int32_t block_size);

/// A source of activations. Borrows the backend.
class Noise {
 public:
  Noise(kernels::Ops& ops, std::int32_t cols);
  /// `rows` rows of random numbers, valid until the next begin_step().
  kernels::Tensor draw(std::int32_t rows);

 private:
  kernels::Ops& ops_;
  std::unique_ptr<kernels::Weight> table_;
  std::vector<std::int32_t> ids_;
};

/// Columns of the fused [q | k | v].
std::int32_t qkv_width(const kernels::KvShape& kv, std::int32_t heads);

/// Writes every slot of the device pool.
void fill_device_pool(kernels::Ops& ops, const kernels::KvShape& kv, std::int32_t heads);
/// Writes every block of the host pool, which must not be larger than the device's.
void fill_host_pool(kernels::Ops& ops, const kernels::KvShape& kv);

/// The blocks of a pool in random order.
std::vector<BlockId> shuffled_blocks(std::int32_t count);

/// The chunks as a batch of random tokens, each over blocks of its own: the first of `blocks`, which must
/// outlive the batch.
StepBatch batch_of(const std::vector<ChunkShape>& chunks, std::span<const BlockId> blocks,
                   std::int32_t block_size, std::int32_t vocabulary);

}  // namespace pagelab
