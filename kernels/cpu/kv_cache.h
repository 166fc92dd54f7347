// KvCache: the pools of KV blocks of the device and the host tier, both in this machine's memory. Owns the
// memory and the order of K and V inside a block, which only the attention kernel and the writer below need
// to know:
//
//   pool   [block][layer][K of all heads | V of all heads]
//   V      [head][token slot][d]
//   K      [head][tile][d][kTileTokens]  when the block size is a multiple of kTileTokens,
//          [head][d][token slot]         otherwise.
//
// A mapped cache has tiles outermost, K [tile][head][d][kTileTokens] and V [tile][head][token of the
// tile][d], so that K, and V, of one layer go on from block to block; each sequence then sees its blocks at
// adjacent addresses (kernels/cpu/sequence_ranges.h).
//
// A block is one run of memory, so copying and swapping it is one memcpy. K lies transposed, so that a vector
// holds one dimension of neighbouring tokens and scores need no horizontal sums; a layer's heads follow each
// other, so that decoding reads long runs. Knows no sequence and no table.
#pragma once

#include <cstddef>
#include <cstdint>

#include <memory>
#include <vector>

#include "kernels/cpu/huge_memory.h"
#include "kernels/cpu/sequence_ranges.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/ops.h"

namespace pagelab::kernels::cpu {

/// Tokens that attention scores together; the width of a K tile.
inline constexpr std::int32_t kTileTokens = 16;

class KvCache {
 public:
  enum class Tier : std::uint8_t { device, host };

  /// Reserves both tiers; pages are zero and come into being when first used. Throws std::invalid_argument if
  /// the shape is not a valid one (see KvShape), std::bad_alloc if there is no room.
  /// `mapped`: sequences' blocks are mapped to adjacent addresses; the block size must be a multiple of
  /// kTileTokens, and K of a layer in a block a multiple of the system's page.
  explicit KvCache(const KvShape& shape, bool mapped = false);

  const KvShape& shape() const { return shape_; }
  /// Bytes of one block over all layers; the distance between blocks.
  std::size_t block_bytes() const { return block_bytes_; }
  std::byte* block(Tier tier, std::int32_t index) {
    return base(tier) + static_cast<std::size_t>(index) * block_bytes_;
  }

  /// K, and V, of one layer of a device block.
  std::byte* keys(std::int32_t layer, std::int32_t index) const {
    return device_base_ + static_cast<std::size_t>(index) * block_bytes_ +
           static_cast<std::size_t>(layer) * layer_bytes_;
  }
  std::byte* values(std::int32_t layer, std::int32_t index) const {
    return keys(layer, index) + layer_bytes_ / 2;
  }

  // --- A mapped cache.
  bool mapped() const { return ranges_ != nullptr; }
  /// Maps the blocks of a step's sequences to adjacent addresses, before their K and V are read. Throws
  /// std::logic_error if two sequences begin with the same block, and what SequenceRanges::map does.
  void map(const AttentionBatch& batch);
  /// K, and V, of one layer of the sequence that begins with a block: those of its slot `s` are at
  /// key_offset(0, s) and value_offset(0, s), however large s is.
  const std::byte* sequence_keys(std::int32_t layer, std::int32_t first_block) const {
    return ranges_->tensor(first_block, 2 * layer);
  }
  const std::byte* sequence_values(std::int32_t layer, std::int32_t first_block) const {
    return ranges_->tensor(first_block, 2 * layer + 1);
  }
  /// Pages mapped so far.
  std::int64_t pages_mapped() const { return mapped() ? ranges_->pages_mapped() : 0; }

  // --- The order within them, in elements of shape().dtype.
  /// Elements of K (or V) of one head in a block, or in a tile of a mapped cache: the distance between heads.
  std::int64_t head_stride() const { return head_stride_; }
  /// Tokens whose K is interleaved: kTileTokens or the block size.
  std::int32_t tile_width() const { return tile_width_; }
  /// Where K of a head starts for the slot `offset`, in keys(); dimension d is d * tile_width() further.
  std::int64_t key_offset(std::int32_t head, std::int32_t offset) const {
    const std::int32_t tile = offset / tile_width_;
    return head * head_stride_ + tile * tile_stride_ + offset % tile_width_;
  }
  /// Where V of a head starts for the slot `offset`, in values(); the dimensions follow each other.
  std::int64_t value_offset(std::int32_t head, std::int32_t offset) const {
    const std::int32_t tile = offset / tile_width_;
    return head * head_stride_ + tile * tile_stride_ + std::int64_t{offset % tile_width_} * shape_.head_size;
  }

  // --- One element, widened or rounded; slow, for tests and dumps.
  float load_k(Tier tier, std::int32_t layer, std::int32_t block, std::int32_t head, std::int32_t offset,
               std::int32_t d) const;
  float load_v(Tier tier, std::int32_t layer, std::int32_t block, std::int32_t head, std::int32_t offset,
               std::int32_t d) const;
  void store_k(Tier tier, std::int32_t layer, std::int32_t block, std::int32_t head, std::int32_t offset,
               std::int32_t d, float value);
  void store_v(Tier tier, std::int32_t layer, std::int32_t block, std::int32_t head, std::int32_t offset,
               std::int32_t d, float value);

 private:
  std::byte* base(Tier tier) const { return tier == Tier::device ? device_base_ : host_.data(); }
  /// Elements from a layer's K to its V.
  std::int64_t values_offset() const {
    return std::int64_t{shape_.block_size} * shape_.head_size * shape_.kv_heads;
  }
  std::byte* element(Tier tier, std::int32_t layer, std::int32_t block, std::int64_t index) const;

  KvShape shape_;
  std::int32_t tile_width_;
  std::int64_t head_stride_;
  std::int64_t tile_stride_;  ///< elements between the tiles of a head
  std::size_t layer_bytes_;
  std::size_t block_bytes_;
  HugeMemory device_;                       ///< empty when mapped
  std::unique_ptr<SequenceRanges> ranges_;  ///< null unless mapped
  std::byte* device_base_;
  HugeMemory host_;
  std::vector<char> begun_;  ///< by block: whether a sequence of the step being mapped begins with it
};

/// Writes K and V of every token of the step into its slot of `layer`, rounded to nearest even; qkv rows are
/// [heads q | kv_heads k | kv_heads v], each head_size wide. Requires distinct slots.
void write_kv(KvCache& cache, ThreadPool& pool, std::int32_t layer, Tensor qkv, std::int32_t heads,
              const AttentionBatch& batch);

}  // namespace pagelab::kernels::cpu
