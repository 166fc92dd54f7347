// The merge of split-KV attention: the partitions of a sequence, each with its own maximum and sum of
// weights, become one result (FlashDecoding; log-sum-exp as in Milakov and Gimelshein, "Online normalizer
// calculation for softmax", section 3.1). Reads what decode kernels of an earlier launch wrote. Bound:
// partials * heads * head_size * 4 bytes, a few percent of the KV that made them, since a partition has at
// least kMinPartition positions.
#pragma once

#include <cstdint>

#include "kernels/cuda/decode_block.cuh"

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {

template <int kHeadSize>
struct MergeShared {
  float acc[kDecodeWarps][kHeadSize];
  float sum[kDecodeWarps];
};

/// One block of threads per merge and head. Every warp finds the maximum over all partitions for itself and
/// adds up every kDecodeWarps-th of them; then the warps' sums, all relative to that one maximum, are added.
template <int kHeadSize, class Source>
__global__ void __launch_bounds__(kDecodeThreads)
    merge_partials(const DecodeLaunch<Source> launch, const MergeItem* merges) {
  auto& shared = shared_memory<MergeShared<kHeadSize>>();
  const auto heads = launch.queries.heads;
  const auto head = static_cast<std::int32_t>(blockIdx.x) % heads;
  const MergeItem merge = merges[static_cast<std::int32_t>(blockIdx.x) / heads];
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const float* first = partial_record(launch.workspace, merge.first, heads, head, kHeadSize);
  const std::int64_t stride = std::int64_t{heads} * (kHeadSize + kRecordTail);

  float max = kNoScore;
  for (int i = lane; i < merge.count; i += kWarpSize) {
    max = fmaxf(max, first[i * stride + kHeadSize]);
  }
  max = warp_reduce(max, Max{});

  constexpr int kSlots = (kHeadSize + kWarpSize - 1) / kWarpSize;
  float acc[kSlots] = {};
  float sum = 0;
#pragma unroll 4
  for (int i = warp; i < merge.count; i += kDecodeWarps) {
    const float* record = first + i * stride;
    const float weight = exp2_fast(record[kHeadSize] - max);
    sum = fmaf(weight, record[kHeadSize + 1], sum);
#pragma unroll
    for (int slot = 0; slot < kSlots; ++slot) {
      const int d = slot * kWarpSize + lane;
      if (d < kHeadSize) {
        acc[slot] = fmaf(weight, record[d], acc[slot]);
      }
    }
  }
#pragma unroll
  for (int slot = 0; slot < kSlots; ++slot) {
    const int d = slot * kWarpSize + lane;
    if (d < kHeadSize) {
      shared.acc[warp][d] = acc[slot];
    }
  }
  if (lane == 0) {
    shared.sum[warp] = sum;
  }
  __syncthreads();

  float total = 0;
#pragma unroll
  for (int i = 0; i < kDecodeWarps; ++i) {
    total += shared.sum[i];
  }
  const std::int64_t row = std::int64_t{launch.source.token(merge.sequence)} * heads + head;
  for (int d = static_cast<int>(threadIdx.x); d < kHeadSize; d += kDecodeThreads) {
    float value = 0;
#pragma unroll
    for (int i = 0; i < kDecodeWarps; ++i) {
      value += shared.acc[i][d];
    }
    launch.queries.out[row * kHeadSize + d] = value / total;
  }
}

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
