// Prefill attention for K and V in float, without tensor cores, so that nothing is rounded on the way.
//
// Four warps of 16 query rows each. Lane 8 * group + column of a warp computes, of rows group, group + 4, +
// 8, + 12, the scores of positions column, column + 8, ... of a tile, and chunks column, column + 8, ... of
// the output: each number read from shared memory meets four others. Q lies in shared memory beside the
// tiles; the weights of a tile go through it from the lanes that computed them to those that need them,
// always within the warp.
//
// Bound: as prefill_mma, at the rate of float multiply-adds outside of tensor cores (A100: 19.5 TFLOP/s,
// H100: 67).
#pragma once

#include "kernels/cuda/prefill_tiles.cuh"

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {

/// Positions per tile: what leaves shared memory for two blocks of threads per multiprocessor of an A100;
/// head size 256 has one, and just fits the 99 KiB of sm_86 and sm_89.
template <int kHeadSize>
inline constexpr int kSimtKeys = kHeadSize <= 80    ? 32
                                 : kHeadSize <= 128 ? 16
                                                    : 8;

template <int kHeadSize>
struct SimtShared {
  static constexpr int kKeys = kSimtKeys<kHeadSize>;
  using Layout = RowLayout<float, kHeadSize>;
  /// Rows of weights begin 8 or 24 banks apart, so that the four rows that a warp writes at once do not
  /// collide.
  static constexpr int kWeightStride = kKeys % 16 == 0 ? kKeys + 8 : kKeys;
  static_assert(kWeightStride % 16 == 8);

  KvStages<float, kHeadSize, kKeys> kv;
  uint4 queries[kPrefillRows * Layout::kChunks];
  float weights[kPrefillRows * kWeightStride];
};

__device__ inline float4 as_floats(uint4 chunk) {
  return *reinterpret_cast<const float4*>(&chunk);
}

__device__ inline uint4 as_chunk(float4 floats) {
  return *reinterpret_cast<const uint4*>(&floats);
}

/// Scores, output and softmax of one warp.
template <int kHeadSize>
class SimtWarpAttention {
 public:
  using Shared = SimtShared<kHeadSize>;
  using Layout = typename Shared::Layout;
  using Stage = typename KvStages<float, kHeadSize, Shared::kKeys>::Stage;
  static constexpr int kRows = 4;                               ///< of a lane
  static constexpr int kScores = Shared::kKeys / 8;             ///< of a lane and row
  static constexpr int kOutChunks = (Layout::kChunks + 7) / 8;  ///< of a lane and row

  __device__ SimtWarpAttention(Shared& shared, const AttentionQueries& queries, const PrefillRows& rows)
      : shared_(shared),
        scale_(queries.scale * 1.4426950408889634f),
        column_(static_cast<int>(threadIdx.x) % 8),
        row_(static_cast<int>(threadIdx.x) / 32 * kWarpRows + static_cast<int>(threadIdx.x) % 32 / 8) {
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      position_[i] = rows.position(row(i));
      max_[i] = -INFINITY;
    }
  }

  /// Takes in the tile that begins at position `begin`.
  __device__ void add(const Stage& stage, int begin) {
    float scores[kRows][kScores] = {};
    multiply_keys(stage, scores);
    update_softmax(begin, scores);
    multiply_values(stage);
  }

  __device__ void write(const AttentionQueries& queries, const PrefillRows& rows, int head) {
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      sum_[i] += __shfl_xor_sync(0xffffffffu, sum_[i], 1);
      sum_[i] += __shfl_xor_sync(0xffffffffu, sum_[i], 2);
      sum_[i] += __shfl_xor_sync(0xffffffffu, sum_[i], 4);
      if (row(i) < rows.count) {
        const float inverse = 1.0f / sum_[i];
        float* out = queries.out + (std::int64_t{rows.token + row(i)} * queries.heads + head) * kHeadSize;
#pragma unroll
        for (int j = 0; j < kOutChunks; ++j) {
          if (has_chunk(j)) {
            const float4 value = out_[i][j];
            store16(out + 4 * (column_ + 8 * j), as_chunk(make_float4(value.x * inverse, value.y * inverse,
                                                                      value.z * inverse, value.w * inverse)));
          }
        }
      }
    }
  }

 private:
  __device__ int row(int i) const {
    return row_ + 4 * i;
  }
  /// A head size that is no multiple of 32 leaves some lanes without their last chunk.
  __device__ bool has_chunk(int j) const {
    return Layout::kChunks % 8 == 0 || column_ + 8 * j < Layout::kChunks;
  }

  __device__ void multiply_keys(const Stage& stage, float (&scores)[kRows][kScores]) const {
#pragma unroll 4
    for (int chunk = 0; chunk < Layout::kChunks; ++chunk) {
      float4 q[kRows];
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        q[i] = as_floats(load16(&shared_.queries[Layout::at(row(i), chunk)]));
      }
#pragma unroll
      for (int j = 0; j < kScores; ++j) {
        const float4 k = as_floats(load16(&stage.keys[Layout::at(column_ + 8 * j, chunk)]));
#pragma unroll
        for (int i = 0; i < kRows; ++i) {
          scores[i][j] = fmaf(q[i].x, k.x, scores[i][j]);
          scores[i][j] = fmaf(q[i].y, k.y, scores[i][j]);
          scores[i][j] = fmaf(q[i].z, k.z, scores[i][j]);
          scores[i][j] = fmaf(q[i].w, k.w, scores[i][j]);
        }
      }
    }
  }

  /// Masks what a row does not see, turns scores into weights relative to the new maximum, hands them to the
  /// warp and rescales what was summed up so far. Every row sees position 0: the maximum is finite from the
  /// first tile on. The barrier between tiles has seen to it that the previous tile's weights have been read.
  __device__ void update_softmax(int begin, float (&scores)[kRows][kScores]) {
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      float largest = max_[i];
#pragma unroll
      for (int j = 0; j < kScores; ++j) {
        scores[i][j] = begin + column_ + 8 * j <= position_[i] ? scores[i][j] * scale_ : -INFINITY;
        largest = fmaxf(largest, scores[i][j]);
      }
      largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, 1));
      largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, 2));
      largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, 4));
      const float correction = exp2_fast(max_[i] - largest);
      max_[i] = largest;
      sum_[i] *= correction;
#pragma unroll
      for (int j = 0; j < kScores; ++j) {
        const float weight = exp2_fast(scores[i][j] - largest);
        sum_[i] += weight;
        shared_.weights[row(i) * Shared::kWeightStride + column_ + 8 * j] = weight;
      }
#pragma unroll
      for (int j = 0; j < kOutChunks; ++j) {
        out_[i][j].x *= correction;
        out_[i][j].y *= correction;
        out_[i][j].z *= correction;
        out_[i][j].w *= correction;
      }
    }
    __syncwarp();  // the weights of the warp's rows are there
  }

  __device__ void multiply_values(const Stage& stage) {
#pragma unroll 1
    for (int key = 0; key < Shared::kKeys; key += 4) {
      float weights[kRows][4];
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        const float4 four = as_floats(load16(&shared_.weights[row(i) * Shared::kWeightStride + key]));
        weights[i][0] = four.x;
        weights[i][1] = four.y;
        weights[i][2] = four.z;
        weights[i][3] = four.w;
      }
#pragma unroll
      for (int k = 0; k < 4; ++k) {
#pragma unroll
        for (int j = 0; j < kOutChunks; ++j) {
          if (has_chunk(j)) {
            const float4 v = as_floats(load16(&stage.values[Layout::at(key + k, column_ + 8 * j)]));
#pragma unroll
            for (int i = 0; i < kRows; ++i) {
              out_[i][j].x = fmaf(weights[i][k], v.x, out_[i][j].x);
              out_[i][j].y = fmaf(weights[i][k], v.y, out_[i][j].y);
              out_[i][j].z = fmaf(weights[i][k], v.z, out_[i][j].z);
              out_[i][j].w = fmaf(weights[i][k], v.w, out_[i][j].w);
            }
          }
        }
      }
    }
  }

  Shared& shared_;
  float scale_;  ///< of scores, to base 2
  int column_;
  int row_;  ///< the lane's first
  int position_[kRows];
  float4 out_[kRows][kOutChunks] = {};
  float max_[kRows];
  float sum_[kRows] = {};  ///< of this lane's weights
};

/// Q of the block's rows into shared memory; there before the first tile is.
template <int kHeadSize>
__device__ void stage_queries(SimtShared<kHeadSize>& shared, const AttentionQueries& queries,
                              const PrefillRows& rows, int head) {
  using Layout = RowLayout<float, kHeadSize>;
  for (int i = static_cast<int>(threadIdx.x); i < kPrefillRows * Layout::kChunks; i += kPrefillThreads) {
    const int row = i / Layout::kChunks;
    const int chunk = i % Layout::kChunks;
    const float* q = queries.qkv + std::int64_t{rows.token + rows.clamp(row)} * queries.qkv_stride;
    async_copy16(&shared.queries[Layout::at(row, chunk)], q + std::int64_t{head} * kHeadSize + 4 * chunk);
  }
}

/// Grid and order of items as prefill_mma; SimtShared<kHeadSize> of shared memory.
template <int kHeadSize>
__global__ void __launch_bounds__(kPrefillThreads)
    prefill_simt(AttentionQueries queries, PagedKv kv, DeviceBatch batch, const PrefillItem* items) {
  auto& shared = shared_memory<SimtShared<kHeadSize>>();
  const int head = static_cast<int>(blockIdx.x);
  const PrefillRows rows(batch, items[gridDim.y - 1 - blockIdx.y]);
  const VisibleToWarp visible(rows, static_cast<int>(threadIdx.x) / 32 * kWarpRows);
  stage_queries(shared, queries, rows, head);
  SimtWarpAttention<kHeadSize> warp(shared, queries, rows);
  for_each_tile(shared.kv, kv, rows, head / (queries.heads / kv.kv_heads), [&](const auto& stage, int begin) {
    if (begin <= visible.any) {
      warp.add(stage, begin);
    }
  });
  warp.write(queries, rows, head);
}

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
