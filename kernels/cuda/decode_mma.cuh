// Decode attention on tensor cores, for f16 and bf16: the kernel for grouped-query attention.
//
// The query heads of a group, padded to the 16 rows of mma.m16n8k16, are the A operand of both products, so
// that K and V are read once for all of them. Each warp works alone: it stages tiles of 16 rows of K or V in
// a ring of its own by cp.async, several ahead, takes every fourth tile of the item's positions and keeps its
// own online softmax (FlashAttention-2, section 3.1, with the warps split over the keys); no barrier of the
// block until the results of the warps are merged. Weights are rounded to T for the second product; the sums
// of weights are not.
//
// Bound: memory, 2 * context * kv_heads * head_size * 2 bytes per sequence, whatever the group. The padded
// products do 32 multiply-adds per byte at most: 2.0 TB/s on an A100 feed 32 T of its 156 T multiply-adds/s
// on tensor cores, 3.35 TB/s on an H100 54 T of about 300. On CUDA cores a group of g would cost about 1
// + 1.3 g instructions per element (decode_simt.cuh) of the 19 that an A100 issues in the time of its two
// bytes: most of them at g = 8, and from g = 2 on more registers for q and the results than the fragments
// take here; so this kernel serves every group.
#pragma once

#include "kernels/cuda/decode_block.cuh"
#include "kernels/cuda/row_layout.cuh"

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {

inline constexpr int kTileRows = 16;
inline constexpr int kMmaHeads = 16;  ///< query heads of a block at most

/// Dimensions of a tile; rows of head size 256 come in two.
template <int kHeadSize>
inline constexpr int kTileDims = kHeadSize > 128 ? 128 : kHeadSize;
template <int kHeadSize>
inline constexpr int kTileParts = kHeadSize / kTileDims<kHeadSize>;

/// Tiles of a warp's ring, all but one of which are under way. With q, a block of threads takes 34 (head size
/// 64), 43 (80), 51 (96), 68 (128) or 88 KiB (256) of shared memory: within the 99 KiB that sm_86 and sm_89
/// give a block.
template <int kHeadSize>
inline constexpr int kRing = kTileParts<kHeadSize> == 1 ? 4 : 5;

/// Blocks of threads that share a multiprocessor of an A100, as its 164 KiB of shared memory allow (H100, of
/// 228 KiB: 6, 5, 4, 3 and 2, registers permitting). Each has 24 KiB (head size 64) to 64 KiB (256) under
/// way, where latency * bandwidth asks for 11 KiB a multiprocessor (H100: 15).
template <int kHeadSize>
inline constexpr int kMmaBlocks = kHeadSize == 64    ? 4
                                  : kHeadSize < 128  ? 3
                                  : kHeadSize == 128 ? 2
                                                     : 1;

template <class T, int kHeadSize>
struct MmaShared {
  using Tile = uint4[kTileRows * RowLayout<T, kTileDims<kHeadSize>>::kChunks];
  using Ring = Tile[kRing<kHeadSize>];
  union {
    Ring rings[kDecodeWarps];
    WarpResults<kMmaHeads, kHeadSize> results;  ///< after the last tile
  };
  uint4 q[kMmaHeads * RowLayout<T, kHeadSize>::kChunks];
};

/// The tiles of one warp. For each kTileRows positions, from begin on every kStep, the parts of K come first,
/// then those of V.
template <class T, int kHeadSize, class Source>
class WarpTiles {
 public:
  using Layout = RowLayout<T, kTileDims<kHeadSize>>;
  using Ring = typename MmaShared<T, kHeadSize>::Ring;
  static constexpr int kParts = kTileParts<kHeadSize>;
  static constexpr int kDepth = kRing<kHeadSize>;
  static constexpr int kStep = kDecodeWarps * kTileRows;

  __device__ WarpTiles(Ring& ring, const Source& source, const DecodeBlock& block, int warp, int lane)
      : ring_(ring),
        rows_(source.rows(block.item.sequence, block.kv_head)),
        keys_(static_cast<const T*>(source.keys)),
        values_(static_cast<const T*>(source.values)),
        lane_(lane),
        position_(block.item.begin + warp * kTileRows),
        end_(block.item.end) {
    look_up();
#pragma unroll 1
    for (int tile = 0; tile + 1 < kDepth; ++tile) {
      stage();
    }
  }

  /// Waits for the next tile, starts copying the one that takes the place of the one before, and gives the
  /// tile.
  __device__ const uint4* next() {
    async_wait<kDepth - 2>();
    __syncwarp();  // all lanes' copies have landed, and no lane reads the tile before any more
    stage();
    const uint4* tile = ring_[taken_];
    taken_ = taken_ + 1 == kDepth ? 0 : taken_ + 1;
    return tile;
  }

 private:
  /// Reads the page table for the next tiles, one row per lane.
  __device__ void look_up() {
    if (lane_ < kTileRows && position_ + lane_ < end_) {
      entry_ = rows_.entry(position_ + lane_);
    }
  }

  __device__ void stage() {
    if (position_ < end_) {
      uint4* tile = ring_[staged_];
      const T* source = part_ < kParts ? keys_ : values_;
      const int first_chunk = part_ % kParts * Layout::kChunks;
      const std::int64_t own = rows_.offset(entry_, position_ + lane_);
#pragma unroll 4
      for (int i = 0; i < kTileRows * Layout::kChunks / kWarpSize; ++i) {
        const int index = i * kWarpSize + lane_;
        const int row = index / Layout::kChunks;
        const int chunk = index % Layout::kChunks;
        const std::int64_t offset = __shfl_sync(kAllLanes, own, row);
        const bool valid = position_ + row < end_;
        async_copy16(&tile[Layout::at(row, chunk)],
                     source + (valid ? offset + (first_chunk + chunk) * Layout::kElements : 0), valid);
      }
      if (++part_ == 2 * kParts) {
        part_ = 0;
        position_ += kStep;
        look_up();
      }
    }
    async_commit();
    staged_ = staged_ + 1 == kDepth ? 0 : staged_ + 1;
  }

  Ring& ring_;
  typename Source::Rows rows_;
  const T* keys_;
  const T* values_;
  int lane_;
  int position_;  ///< of the next tile to stage
  int end_;
  std::int32_t entry_ = 0;  ///< of the page table, for the row of position_ + lane_
  int part_ = 0;            ///< of the next tile to stage: of K, then of V
  int staged_ = 0;          ///< places in the ring
  int taken_ = 0;
};

/// Rounds the q of a block's heads to T; heads that are not there are zeros. All threads of the block come
/// here.
template <class T, int kHeadSize>
__device__ void load_queries(const DecodeBlock& block, uint4* q) {
  using Layout = RowLayout<T, kHeadSize>;
  constexpr int kQuads = kHeadSize / 4;  // half a chunk each
  for (int i = static_cast<int>(threadIdx.x); i < kMmaHeads * kQuads; i += kDecodeThreads) {
    const int head = i / kQuads;
    const int quad = i % kQuads;
    float4 four = make_float4(0, 0, 0, 0);
    if (head < block.heads) {
      four = __builtin_bit_cast(float4, load16(block.q + head * kHeadSize + quad * 4));
    }
    uint2* chunk = reinterpret_cast<uint2*>(&q[Layout::at(head, quad / 2)]);
    chunk[quad % 2] = make_uint2(pack2<T>(four.x, four.y), pack2<T>(four.z, four.w));
  }
  __syncthreads();
}

/// Softmax and result of one warp. Of C fragments, lane 4 * group + pair holds rows (heads) group and group
/// + 8. Of load_matrices, lane 8 * matrix + row gives an address.
template <class T, int kHeadSize>
class WarpHeads {
 public:
  using Layout = RowLayout<T, kTileDims<kHeadSize>>;
  using QueryLayout = RowLayout<T, kHeadSize>;
  static constexpr int kPartDims = kTileDims<kHeadSize>;

  __device__ WarpHeads(const uint4* q, float scale, int lane) : q_(q), scale_(scale), lane_(lane) {}

  /// Adds q * K of a part of the dimensions to the scores of a tile's rows.
  __device__ void multiply_keys(int part, const uint4* keys, float (&scores)[2][4]) const {
    const int matrix = lane_ / 8;
#pragma unroll
    for (int step = 0; step < kPartDims / 16; ++step) {
      std::uint32_t q[4];
      std::uint32_t k[4];
      load_matrices(
          q, &q_[QueryLayout::at(matrix % 2 * 8 + lane_ % 8, part * kPartDims / 8 + step * 2 + matrix / 2)]);
      load_matrices(k, &keys[Layout::at(matrix / 2 * 8 + lane_ % 8, step * 2 + matrix % 2)]);
      multiply_add<T>(scores[0], q, {k[0], k[1]});
      multiply_add<T>(scores[1], q, {k[2], k[3]});
    }
  }

  /// Turns the scores of a tile's `count` rows into weights, takes them into max and sum and rescales the
  /// result so far. C fragments of the weights are, rounded, the A fragments of the second product.
  __device__ void weigh(int count, float (&scores)[2][4], std::uint32_t (&weights)[4]) {
    float rescale[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float top = max_[half];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int row = i / 2 * 8 + lane_ % 4 * 2 + i % 2;
        float& score = scores[i / 2][2 * half + i % 2];
        score = row < count ? score * scale_ : -INFINITY;
        top = fmaxf(top, score);
      }
      top = fmaxf(top, __shfl_xor_sync(kAllLanes, top, 1));
      top = fmaxf(top, __shfl_xor_sync(kAllLanes, top, 2));
      rescale[half] = exp2_fast(max_[half] - top);
      max_[half] = top;
      sum_[half] *= rescale[half];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const float low = exp2_fast(scores[i][2 * half] - top);
        const float high = exp2_fast(scores[i][2 * half + 1] - top);
        sum_[half] += low + high;
        weights[2 * i + half] = pack2<T>(low, high);
      }
    }
#pragma unroll
    for (int column = 0; column < kHeadSize / 8; ++column) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        acc_[column][i] *= rescale[i / 2];
      }
    }
  }

  /// Adds weights * V of a part of the dimensions to the result.
  __device__ void multiply_values(int part, const uint4* values, const std::uint32_t (&weights)[4]) {
    const int matrix = lane_ / 8;
#pragma unroll
    for (int column = 0; column < kPartDims / 8; column += 2) {
      std::uint32_t v[4];
      load_matrices_transposed(v, &values[Layout::at(matrix % 2 * 8 + lane_ % 8, column + matrix / 2)]);
      float(&acc)[4] = acc_[part * kPartDims / 8 + column];
      float(&next)[4] = acc_[part * kPartDims / 8 + column + 1];
      multiply_add<T>(acc, weights, {v[0], v[1]});
      multiply_add<T>(next, weights, {v[2], v[3]});
    }
  }

  /// Leaves the results of the first `heads` heads for the merge with the other warps.
  __device__ void leave(WarpResults<kMmaHeads, kHeadSize>& results, int warp, int heads) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int head = lane_ / 4 + half * 8;
      sum_[half] += __shfl_xor_sync(kAllLanes, sum_[half], 1);
      sum_[half] += __shfl_xor_sync(kAllLanes, sum_[half], 2);
      if (head < heads) {
#pragma unroll
        for (int column = 0; column < kHeadSize / 8; ++column) {
          *reinterpret_cast<float2*>(&results.acc[warp][head][column * 8 + lane_ % 4 * 2]) =
              make_float2(acc_[column][2 * half], acc_[column][2 * half + 1]);
        }
        if (lane_ % 4 == 0) {
          results.max[warp][head] = max_[half];
          results.sum[warp][head] = sum_[half];
        }
      }
    }
  }

 private:
  const uint4* q_;
  float acc_[kHeadSize / 8][4] = {};
  float max_[2] = {kNoScore, kNoScore};
  float sum_[2] = {};
  float scale_;
  int lane_;
};

/// Serves up to kMmaHeads query heads of a kv head.
template <class T, int kHeadSize, class Source>
__global__ void __launch_bounds__(kDecodeThreads, kMmaBlocks<kHeadSize>)
    decode_mma(const DecodeLaunch<Source> launch) {
  using Tiles = WarpTiles<T, kHeadSize, Source>;
  auto& shared = shared_memory<MmaShared<T, kHeadSize>>();
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const DecodeBlock block(launch, kMmaHeads, kHeadSize);
  Tiles tiles(shared.rings[warp], launch.source, block, warp, lane);
  load_queries<T, kHeadSize>(block, shared.q);
  WarpHeads<T, kHeadSize> heads(shared.q, launch.scale_log2, lane);
  for (int first = block.item.begin + warp * kTileRows; first < block.item.end; first += Tiles::kStep) {
    float scores[2][4] = {};
    std::uint32_t weights[4];
#pragma unroll
    for (int part = 0; part < Tiles::kParts; ++part) {
      heads.multiply_keys(part, tiles.next(), scores);
    }
    heads.weigh(block.item.end - first, scores, weights);
#pragma unroll
    for (int part = 0; part < Tiles::kParts; ++part) {
      heads.multiply_values(part, tiles.next(), weights);
    }
  }
  __syncthreads();  // the results take the place of the rings
  heads.leave(shared.results, warp, block.heads);
  write_results(shared.results, block, launch);
}

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
