// What the two decode kernels share: what a block of threads is to do, how the results of its warps become
// one, and the records that partitions of one sequence leave behind for merge_partials. Owns nothing.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention_plan.h"
#include "kernels/cuda/kv_rows.cuh"
#include "kernels/cuda/primitives.cuh"
#include "kernels/cuda/reduce.cuh"

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {

inline constexpr int kDecodeThreads = 128;
inline constexpr int kDecodeWarps = kDecodeThreads / kWarpSize;

/// Below every score, yet finite: the maximum of no scores, so that differences of maxima are never NaN.
inline constexpr float kNoScore = -1e30f;

/// Result of one partition for one head: sum of 2^(score - max) * v over its positions, then max and the sum
/// of weights; padded to whole 32-byte sectors.
inline constexpr int kRecordTail = 8;
__device__ inline float* partial_record(float* workspace, std::int32_t partial, std::int32_t heads,
                                        std::int32_t head, std::int32_t head_size) {
  return workspace + (std::int64_t{partial} * heads + head) * (head_size + kRecordTail);
}

/// A launch of a decode kernel: one block of threads per item, kv head and tile of the head's group.
template <class Source>
struct DecodeLaunch {
  Source source;
  AttentionQueries queries;
  const DecodeItem* items;
  float* workspace;
  float scale_log2;  ///< queries.scale * log2(e): softmax is computed in base 2
  std::int32_t kv_heads;
  std::int32_t group;  ///< query heads per kv head
  std::int32_t tiles;  ///< blocks of threads that a group takes
};

/// One block's part of a launch. Tiles of a group and then kv heads are neighbours, so that blocks that run
/// at the same time share what they read in L2.
struct DecodeBlock {
  DecodeItem item;
  std::int32_t kv_head;
  std::int32_t head;   ///< first query head
  std::int32_t heads;  ///< query heads served, at most kHeads
  const float* q;      ///< row of `head`; the other heads follow
  float* out;

  template <class Source>
  __device__ DecodeBlock(const DecodeLaunch<Source>& launch, int most_heads, int head_size) {
    const auto index = static_cast<std::int32_t>(blockIdx.x);
    const std::int32_t tile = index % launch.tiles;
    kv_head = index / launch.tiles % launch.kv_heads;
    item = launch.items[index / launch.tiles / launch.kv_heads];
    head = kv_head * launch.group + tile * most_heads;
    const std::int32_t left = launch.group - tile * most_heads;
    heads = left < most_heads ? left : most_heads;
    const std::int64_t token = launch.source.token(item.sequence);
    q = launch.queries.qkv + token * launch.queries.qkv_stride + std::int64_t{head} * head_size;
    out = launch.queries.out + (token * launch.queries.heads + head) * head_size;
  }
};

/// Unnormalised results of the warps of a block, in shared memory. Rows are padded by one sector, so that the
/// C fragments of a warp are stored without bank conflicts.
template <int kRows, int kHeadSize>
struct WarpResults {
  float acc[kDecodeWarps][kRows][kHeadSize + 8];
  float max[kDecodeWarps][kRows];
  float sum[kDecodeWarps][kRows];
};

/// Adds up the warps of a block (log-sum-exp) and writes each head's result, or its record if the item is one
/// of several partitions. All threads of the block come here.
template <int kRows, int kHeadSize, class Source>
__device__ void write_results(const WarpResults<kRows, kHeadSize>& results, const DecodeBlock& block,
                              const DecodeLaunch<Source>& launch) {
  __syncthreads();
  for (int row = 0; row < block.heads; ++row) {
    float max = results.max[0][row];
#pragma unroll
    for (int warp = 1; warp < kDecodeWarps; ++warp) {
      max = fmaxf(max, results.max[warp][row]);
    }
    float weight[kDecodeWarps];
    float sum = 0;
#pragma unroll
    for (int warp = 0; warp < kDecodeWarps; ++warp) {
      weight[warp] = exp2_fast(results.max[warp][row] - max);
      sum += weight[warp] * results.sum[warp][row];
    }
    const bool whole = block.item.partial < 0;
    float* target = whole ? block.out + row * kHeadSize
                          : partial_record(launch.workspace, block.item.partial, launch.queries.heads,
                                           block.head + row, kHeadSize);
    const float factor = whole ? 1.0f / sum : 1.0f;
    for (int d = static_cast<int>(threadIdx.x); d < kHeadSize; d += kDecodeThreads) {
      float value = 0;
#pragma unroll
      for (int warp = 0; warp < kDecodeWarps; ++warp) {
        value += weight[warp] * results.acc[warp][row][d];
      }
      target[d] = value * factor;
    }
    if (!whole && threadIdx.x == 0) {
      target[kHeadSize] = max;
      target[kHeadSize + 1] = sum;
    }
  }
}

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
