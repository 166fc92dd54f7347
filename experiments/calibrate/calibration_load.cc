#include "experiments/calibrate/calibration_load.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "core/random.h"

namespace pagelab {

namespace {

using kernels::KvShape;
using kernels::Tensor;

constexpr std::int32_t noise_rows = 64;
constexpr std::int32_t fill_rows = 1024;  ///< tokens whose K and V are written in one call

}  // namespace

Noise::Noise(kernels::Ops& ops, std::int32_t cols) : ops_(ops) {
  RandomStream random(calibration_seed, "calibrate noise");
  std::vector<float> values(static_cast<std::size_t>(noise_rows) * static_cast<std::size_t>(cols));
  std::ranges::generate(values, [&] { return static_cast<float>(random.uniform() - 0.5); });
  const kernels::HostTensor table{.data = values.data(), .rows = noise_rows, .cols = cols};
  table_ = ops.matrix({&table, 1});
}

Tensor Noise::draw(std::int32_t rows) {
  ids_.resize(static_cast<std::size_t>(rows));
  for (std::size_t i = 0; i < ids_.size(); ++i) {
    ids_[i] = static_cast<std::int32_t>(i) % noise_rows;
  }
  const Tensor out = ops_.scratch(rows, static_cast<std::int32_t>(table_->cols()));
  ops_.embedding(*table_, ids_, out, false);
  return out;
}

std::int32_t qkv_width(const KvShape& kv, std::int32_t heads) {
  return (heads + 2 * kv.kv_heads) * kv.head_size;
}

void fill_device_pool(kernels::Ops& ops, const KvShape& kv, std::int32_t heads) {
  Noise noise(ops, qkv_width(kv, heads));
  const std::int32_t slots = kv.device_blocks * kv.block_size;
  for (std::int32_t first = 0; first < slots; first += fill_rows) {
    const std::int32_t count = std::min(fill_rows, slots - first);
    std::vector<std::int32_t> mapping(static_cast<std::size_t>(count));
    std::iota(mapping.begin(), mapping.end(), first);
    const std::vector<std::int32_t> positions(mapping.size(), 0);
    const std::array<std::int32_t, 2> query{0, count};
    const std::array<std::int32_t, 2> entries{0, 1};
    const std::array<std::int32_t, 1> block{first / kv.block_size};
    const std::array<std::int32_t, 1> length{1};
    ops.begin_step();
    const Tensor qkv = noise.draw(count);
    for (std::int32_t layer = 0; layer < kv.layers; ++layer) {
      ops.write_kv(layer, qkv, heads, {query, entries, block, length, positions, mapping});
    }
    ops.synchronize();
  }
}

void fill_host_pool(kernels::Ops& ops, const KvShape& kv) {
  std::vector<kernels::BlockCopy> copies;
  for (std::int32_t block = 0; block < kv.host_blocks; ++block) {
    copies.push_back({block, block});
  }
  ops.swap_out(copies);
  ops.synchronize();
}

std::vector<BlockId> shuffled_blocks(std::int32_t count) {
  std::vector<BlockId> blocks;
  for (std::int32_t block = 0; block < count; ++block) {
    blocks.push_back(BlockId(block));
  }
  RandomStream random(calibration_seed, "calibrate blocks");
  for (std::size_t i = blocks.size(); i > 1; --i) {
    std::swap(blocks[i - 1], blocks[random.below(i)]);
  }
  return blocks;
}

std::size_t blocks_of(const ChunkShape& chunk, std::int32_t block_size) {
  return static_cast<std::size_t>((chunk.first + chunk.count + block_size - 1) / block_size);
}

StepBatch batch_of(const std::vector<ChunkShape>& chunks, std::span<const BlockId> blocks,
                   std::int32_t block_size, std::int32_t vocabulary) {
  RandomStream random(calibration_seed, "calibrate tokens");
  StepBatch batch;
  for (const ChunkShape& shape : chunks) {
    const std::size_t needed = blocks_of(shape, block_size);
    batch.chunks.push_back({.blocks = blocks.first(needed),
                            .first = shape.first,
                            .count = shape.count,
                            .row = static_cast<std::int32_t>(batch.tokens.size())});
    blocks = blocks.subspan(needed);
    for (std::int32_t i = 0; i < shape.count; ++i) {
      batch.tokens.push_back(static_cast<TokenId>(random.below(static_cast<std::uint64_t>(vocabulary))));
    }
    batch.samples.push_back({.row = static_cast<std::int32_t>(batch.tokens.size()) - 1,
                             .kind = SampleRow::Kind::random,
                             .seed = random.bits(),
                             .position = static_cast<std::uint32_t>(batch.samples.size())});
  }
  batch.candidates = static_cast<std::int32_t>(batch.samples.size());
  return batch;
}

}  // namespace pagelab
