// Prefill attention on tensor cores, for K and V of 16 bits (FlashAttention-2, section 3; PTX ISA,
// mma.m16n8k16).
//
// Four warps of 16 query rows each. A warp keeps its Q as A fragments and its output as C fragments in
// registers for the whole walk over K and V; the scores of a tile leave the first product as C fragments,
// which, rounded to 16 bits, are the A fragments of the second. Softmax is online, in base 2, in float:
// scores are scaled when they are exponentiated, in the same fused multiply-add that subtracts the maximum,
// so queries.scale must be positive.
//
// Bound: a row at position p costs 4 * (p + 1) * head_size FLOP per head. An x4 ldmatrix (512 bytes, four
// cycles of shared memory) feeds two mma of 16 rows (8,192 FLOP), so a multiprocessor does at most 2,048 FLOP
// a cycle: what the tensor cores of an A100 do (312 TFLOP/s), and half of an H100's (about 490 of its 990,
// which need wgmma). Device memory is no bound: 64 FLOP per byte staged, and the heads of a group share what
// they read in L2.
#pragma once

#include "kernels/cuda/prefill_tiles.cuh"

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {

/// Positions per tile, and blocks of threads per multiprocessor that the registers are cut for. With head
/// sizes up to 96 three blocks fit without spilling; 128 needs 96 registers for Q and the output alone, 256
/// twice that, which leaves room for the scores of 16 positions. Shared memory follows: at most 65 KiB a
/// block.
template <int kHeadSize>
inline constexpr int kMmaKeys = kHeadSize == 256  ? 16
                                : kHeadSize == 96 ? 32
                                                  : 64;
template <int kHeadSize>
inline constexpr int kMmaBlocks = kHeadSize <= 96 ? 3 : 2;

/// Q, scores, output and softmax of one warp. Of fragments, lane 4 * group + pair holds rows group and group
/// + 8.
template <class T, int kHeadSize, int kKeys>
class WarpAttention {
 public:
  using Layout = RowLayout<T, kHeadSize>;
  using Stage = typename KvStages<T, kHeadSize, kKeys>::Stage;

  __device__ WarpAttention(const AttentionQueries& queries, const PrefillRows& rows, int head)
      : scale_(queries.scale * 1.4426950408889634f) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int first = static_cast<int>(threadIdx.x) / 32 * kWarpRows;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = first + lane / 4 + 8 * half;
      position_[half] = rows.position(row);
      const float* q = queries.qkv + std::int64_t{rows.token + rows.clamp(row)} * queries.qkv_stride +
                       std::int64_t{head} * kHeadSize + 2 * (lane % 4);
#pragma unroll
      for (int i = 0; i < kHeadSize / 8; ++i) {
        const float2 pair = *reinterpret_cast<const float2*>(q + 8 * i);
        q_[i / 2][i % 2 * 2 + half] = pack2<T>(pair.x, pair.y);
      }
    }
  }

  /// Takes in the tile that begins at position `begin`. `masked`: some row does not see all of it.
  __device__ void add(const Stage& stage, int begin, bool masked) {
    float scores[kKeys / 8][4] = {};
    multiply_keys(stage, scores);
    if (masked) {
      mask(begin, scores);
    }
    update_softmax(scores);
    multiply_values(stage, scores);
  }

  __device__ void write(const AttentionQueries& queries, const PrefillRows& rows, int head) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int first = static_cast<int>(threadIdx.x) / 32 * kWarpRows;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      sum_[half] += __shfl_xor_sync(0xffffffffu, sum_[half], 1);
      sum_[half] += __shfl_xor_sync(0xffffffffu, sum_[half], 2);
      const int row = first + lane / 4 + 8 * half;
      if (row < rows.count) {
        const float inverse = 1.0f / sum_[half];
        float* out = queries.out + (std::int64_t{rows.token + row} * queries.heads + head) * kHeadSize +
                     2 * (lane % 4);
#pragma unroll
        for (int i = 0; i < kHeadSize / 8; ++i) {
          *reinterpret_cast<float2*>(out + 8 * i) =
              make_float2(out_[i][2 * half] * inverse, out_[i][2 * half + 1] * inverse);
        }
      }
    }
  }

 private:
  /// scores = Q K^T. A row of K is a column of the B operand, so ldmatrix reads it as it lies: matrices 0 and
  /// 1 are the two chunks of 8 positions, 2 and 3 those of the next 8.
  __device__ void multiply_keys(const Stage& stage, float (&scores)[kKeys / 8][4]) const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int key = lane % 8 + lane / 16 * 8;
    const uint4* row = stage.keys + key * Layout::kChunks;
#pragma unroll
    for (int i = 0; i < kHeadSize / 16; ++i) {
#pragma unroll
      for (int j = 0; j < kKeys / 16; ++j) {
        std::uint32_t k[4];
        load_matrices(k, Layout::at(row, key, i, lane / 8 % 2) + 16 * j * Layout::kChunks);
        multiply_add<T>(scores[2 * j], q_[i], {k[0], k[1]});
        multiply_add<T>(scores[2 * j + 1], q_[i], {k[2], k[3]});
      }
    }
  }

  /// Causality; it also covers the positions beyond the end of the context.
  __device__ void mask(int begin, float (&scores)[kKeys / 8][4]) const {
    const int first = begin + static_cast<int>(threadIdx.x) % 4 * 2;
#pragma unroll
    for (int i = 0; i < kKeys / 8; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        if (first + 8 * i + j % 2 > position_[j / 2]) {
          scores[i][j] = -INFINITY;
        }
      }
    }
  }

  /// Turns scores into weights relative to the new maximum and rescales what was summed up so far. Every row
  /// sees position 0, so the maximum is finite from the first tile on.
  __device__ void update_softmax(float (&scores)[kKeys / 8][4]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float largest = max_[half];
#pragma unroll
      for (int i = 0; i < kKeys / 8; ++i) {
        largest = fmaxf(largest, fmaxf(scores[i][2 * half], scores[i][2 * half + 1]));
      }
      largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, 1));
      largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, 2));
      const float correction = exp2_fast((max_[half] - largest) * scale_);
      const float shift = -largest * scale_;
      max_[half] = largest;
      sum_[half] *= correction;
#pragma unroll
      for (int i = 0; i < kHeadSize / 8; ++i) {
        out_[i][2 * half] *= correction;
        out_[i][2 * half + 1] *= correction;
      }
#pragma unroll
      for (int i = 0; i < kKeys / 8; ++i) {
#pragma unroll
        for (int j = 2 * half; j < 2 * half + 2; ++j) {
          scores[i][j] = exp2_fast(fmaf(scores[i][j], scale_, shift));
          sum_[half] += scores[i][j];
        }
      }
    }
  }

  /// out += weights * V. A row of V is a row of the B operand, so ldmatrix transposes: matrices 0 and 1 are
  /// one chunk of 16 positions, 2 and 3 the next chunk.
  __device__ void multiply_values(const Stage& stage, const float (&scores)[kKeys / 8][4]) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int key = lane % 16;
    const uint4* row = stage.values + key * Layout::kChunks;
#pragma unroll
    for (int i = 0; i < kKeys / 16; ++i) {
      const auto& low = scores[2 * i];
      const auto& high = scores[2 * i + 1];
      const std::uint32_t weights[4] = {pack2<T>(low[0], low[1]), pack2<T>(low[2], low[3]),
                                        pack2<T>(high[0], high[1]), pack2<T>(high[2], high[3])};
#pragma unroll
      for (int j = 0; j < kHeadSize / 16; ++j) {
        std::uint32_t v[4];
        load_matrices_transposed(v, Layout::at(row, key, j, lane / 16) + 16 * i * Layout::kChunks);
        multiply_add<T>(out_[2 * j], weights, {v[0], v[1]});
        multiply_add<T>(out_[2 * j + 1], weights, {v[2], v[3]});
      }
    }
  }

  float scale_;  ///< of scores, to base 2
  int position_[2];
  std::uint32_t q_[kHeadSize / 16][4];
  float out_[kHeadSize / 8][4] = {};
  float max_[2] = {-INFINITY, -INFINITY};  ///< of unscaled scores
  float sum_[2] = {};                      ///< of this lane's weights
};

/// Grid [heads, items], kPrefillThreads threads, KvStages<T, kHeadSize, kMmaKeys> of shared memory. Items are
/// taken from the last to the first: the later rows of a chunk see more and should not be the ones that
/// finish alone.
template <class T, int kHeadSize>
__global__ void __launch_bounds__(kPrefillThreads, kMmaBlocks<kHeadSize>)
    prefill_mma(AttentionQueries queries, PagedKv kv, DeviceBatch batch, const PrefillItem* items) {
  constexpr int kKeys = kMmaKeys<kHeadSize>;
  auto& shared = shared_memory<KvStages<T, kHeadSize, kKeys>>();
  const int head = static_cast<int>(blockIdx.x);
  const PrefillRows rows(batch, items[gridDim.y - 1 - blockIdx.y]);
  const VisibleToWarp visible(rows, static_cast<int>(threadIdx.x) / 32 * kWarpRows);
  WarpAttention<T, kHeadSize, kKeys> warp(queries, rows, head);
  for_each_tile(shared, kv, rows, head / (queries.heads / kv.kv_heads), [&](const auto& stage, int begin) {
    if (begin <= visible.any) {
      warp.add(stage, begin, begin + kKeys - 1 > visible.every);
    }
  });
  warp.write(queries, rows, head);
}

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
