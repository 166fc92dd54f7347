// Decode attention on the CUDA cores, for every storage type: the kernel for f32, and for multi-head
// attention.
//
// A row of K or V is read by a few neighbouring lanes, 16 bytes at a time; a warp reads several rows at once
// and has all loads of K and V of one round under way before it uses the first. The lanes of a row keep an
// online softmax of their own (Milakov and Gimelshein, "Online normalizer calculation for softmax", algorithm
// 3), in base 2 and in float; rows of other lanes and of other warps are merged once, at the end. The page
// table is read one round ahead, one entry per row.
//
// Bound: memory. A sequence costs 2 * context * kv_heads * head_size * size_of(dtype) bytes: the 16 MiB of
// 1,024 positions of one LLaMA-7B layer (32 heads of 128, f16) take 8.2 us at 2.04 TB/s (A100 80 GB), 5.0 us
// at 3.35 TB/s (H100). Work per element of 16 bits is a conversion, a multiply-add, half a rescaling in V's
// case and a share of the score's reduction in K's: about 2.3 instructions, of some 19 that an A100 issues
// while 2 bytes arrive (H100: 17).
#pragma once

#include <bit>

#include "kernels/cuda/decode_block.cuh"

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {

/// How a warp reads rows: kLanes lanes take one, chunk by chunk; kRows of them at once, kUnroll times in a
/// round. As many lanes as divide the row's chunks and leave each lane two of them, where that is possible:
/// more lanes would spend more on the reduction of a score, fewer would need more registers for q and the
/// result.
template <class T, int kHeadSize>
struct DecodeShape {
  static constexpr int kElements = 16 / static_cast<int>(sizeof(T));  ///< of a chunk
  static constexpr int kRowChunks = kHeadSize / kElements;
  static constexpr int kDivisor = kRowChunks & -kRowChunks;  ///< largest power of two
  static constexpr int kMostLanes = kRowChunks / 2 > 8 ? kRowChunks / 2 : 8;
  static constexpr int kLanes = kDivisor > 32 ? 32
                                : kDivisor > kMostLanes
                                    ? static_cast<int>(std::bit_floor(unsigned{kMostLanes}))
                                    : kDivisor;
  static constexpr int kChunks = kRowChunks / kLanes;  ///< of a row, per lane
  static constexpr int kRows = kWarpSize / kLanes;
  static constexpr int kUnroll = kChunks < 4 ? 4 / kChunks : 1;
  /// First element of a lane's chunk. Neighbouring lanes hold neighbouring chunks.
  static __device__ int element(int lane, int chunk) { return (chunk * kLanes + lane % kLanes) * kElements; }
};

/// The numbers of a 16-byte chunk.
template <class T>
__device__ void unpack(uint4 chunk, float (&to)[16 / sizeof(T)]) {
  const std::uint32_t words[4] = {chunk.x, chunk.y, chunk.z, chunk.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if constexpr (sizeof(T) == 4) {
      to[i] = __builtin_bit_cast(float, words[i]);
    } else {
      const float2 pair = unpack2<T>(words[i]);
      to[2 * i] = pair.x;
      to[2 * i + 1] = pair.y;
    }
  }
}

/// What the lanes of a row know of their heads: q, and softmax and result over the rows that they have read.
template <class T, int kHeadSize, int kHeads>
struct LaneState {
  using Shape = DecodeShape<T, kHeadSize>;
  static constexpr int kElements = Shape::kElements;

  float q[kHeads][Shape::kChunks][kElements];
  float acc[kHeads][Shape::kChunks][kElements] = {};
  float max[kHeads];
  float sum[kHeads];

  __device__ LaneState(const DecodeBlock& block, float scale, int lane) {
#pragma unroll
    for (int head = 0; head < kHeads; ++head) {
      max[head] = kNoScore;
      sum[head] = 0;
#pragma unroll
      for (int chunk = 0; chunk < Shape::kChunks; ++chunk) {
#pragma unroll
        for (int i = 0; i < kElements; i += 4) {
          float four[4] = {};
          if (head < block.heads) {
            unpack<float>(load16(block.q + head * kHeadSize + Shape::element(lane, chunk) + i), four);
          }
#pragma unroll
          for (int j = 0; j < 4; ++j) {
            q[head][chunk][i + j] = four[j] * scale;
          }
        }
      }
    }
  }

  /// scores[head] = q . K of the row whose chunks the lanes hold, for all lanes of the row.
  __device__ void dot(const uint4 (&key)[Shape::kChunks], float (&scores)[kHeads]) const {
#pragma unroll
    for (int head = 0; head < kHeads; ++head) {
      scores[head] = 0;
    }
#pragma unroll
    for (int chunk = 0; chunk < Shape::kChunks; ++chunk) {
      float k[kElements];
      unpack<T>(key[chunk], k);
#pragma unroll
      for (int head = 0; head < kHeads; ++head) {
#pragma unroll
        for (int i = 0; i < kElements; ++i) {
          scores[head] = fmaf(q[head][chunk][i], k[i], scores[head]);
        }
      }
    }
#pragma unroll
    for (int offset = Shape::kLanes / 2; offset > 0; offset /= 2) {
#pragma unroll
      for (int head = 0; head < kHeads; ++head) {
        scores[head] += __shfl_xor_sync(kAllLanes, scores[head], offset);
      }
    }
  }

  /// Takes in kUnroll rows; a row that is not there has the score -infinity and zeros for V.
  __device__ void add(float (&scores)[Shape::kUnroll][kHeads],
                      const uint4 (&values)[Shape::kUnroll][Shape::kChunks]) {
#pragma unroll
    for (int head = 0; head < kHeads; ++head) {
      float top = max[head];
#pragma unroll
      for (int row = 0; row < Shape::kUnroll; ++row) {
        top = fmaxf(top, scores[row][head]);
      }
      const float rescale = exp2_fast(max[head] - top);
      max[head] = top;
      sum[head] *= rescale;
#pragma unroll
      for (int row = 0; row < Shape::kUnroll; ++row) {
        scores[row][head] = exp2_fast(scores[row][head] - top);
        sum[head] += scores[row][head];
      }
      scale_result(head, rescale);
    }
#pragma unroll
    for (int row = 0; row < Shape::kUnroll; ++row) {
#pragma unroll
      for (int chunk = 0; chunk < Shape::kChunks; ++chunk) {
        float v[kElements];
        unpack<T>(values[row][chunk], v);
#pragma unroll
        for (int head = 0; head < kHeads; ++head) {
#pragma unroll
          for (int i = 0; i < kElements; ++i) {
            acc[head][chunk][i] = fmaf(scores[row][head], v[i], acc[head][chunk][i]);
          }
        }
      }
    }
  }

  /// Merges the rows of all lanes that hold the same chunks.
  __device__ void merge_lanes() {
#pragma unroll
    for (int offset = Shape::kLanes; offset < kWarpSize; offset *= 2) {
#pragma unroll
      for (int head = 0; head < kHeads; ++head) {
        const float top = fmaxf(max[head], __shfl_xor_sync(kAllLanes, max[head], offset));
        const float rescale = exp2_fast(max[head] - top);
        max[head] = top;
        sum[head] *= rescale;
        sum[head] += __shfl_xor_sync(kAllLanes, sum[head], offset);
        scale_result(head, rescale);
#pragma unroll
        for (int chunk = 0; chunk < Shape::kChunks; ++chunk) {
#pragma unroll
          for (int i = 0; i < kElements; ++i) {
            acc[head][chunk][i] += __shfl_xor_sync(kAllLanes, acc[head][chunk][i], offset);
          }
        }
      }
    }
  }

  /// Writes the result; of all lanes with the same chunks the first ones do. Of two halves of a chunk, the
  /// lanes 4 to 7 of eight write the second one first: so eight lanes write to all banks.
  __device__ void leave(float (&target)[kHeads][kHeadSize + 8], int lane) const {
    if (lane < Shape::kLanes) {
      const int flip = kElements == 8 ? lane / 4 % 2 * 4 : 0;
#pragma unroll
      for (int head = 0; head < kHeads; ++head) {
#pragma unroll
        for (int chunk = 0; chunk < Shape::kChunks; ++chunk) {
#pragma unroll
          for (int i = 0; i < kElements; i += 4) {
            const auto at = [&](int j) {
              return flip != 0 ? acc[head][chunk][(i ^ 4) % kElements + j] : acc[head][chunk][i + j];
            };
            store16(&target[head][Shape::element(lane, chunk) + (i ^ flip)],
                    __builtin_bit_cast(uint4, make_float4(at(0), at(1), at(2), at(3))));
          }
        }
      }
    }
  }

 private:
  __device__ void scale_result(int head, float factor) {
#pragma unroll
    for (int chunk = 0; chunk < Shape::kChunks; ++chunk) {
#pragma unroll
      for (int i = 0; i < kElements; ++i) {
        acc[head][chunk][i] *= factor;
      }
    }
  }
};

/// Blocks of threads that share a multiprocessor, as registers allow: those of q and of the results of a
/// lane, as many again for chunks on their way, and some 40 for the rest. Shared memory is no limit (34 KiB
/// for 4 heads of 256, of an A100's 164). A block has up to 16 KiB under way, where latency * bandwidth asks
/// for 11 KiB a multiprocessor (H100: 15).
template <class Shape, int kHeads>
inline constexpr int kSimtBlocks = [] {
  constexpr int kState = 2 * kHeads * Shape::kChunks * Shape::kElements;
  return kState <= 32 ? 5 : kState <= 64 ? 4 : kState <= 96 ? 3 : 2;
}();

/// Serves up to kHeads query heads of a kv head.
template <class T, int kHeadSize, int kHeads, class Source>
__global__ void __launch_bounds__(kDecodeThreads, kSimtBlocks<DecodeShape<T, kHeadSize>, kHeads>)
    decode_simt(const DecodeLaunch<Source> launch) {
  using Shape = DecodeShape<T, kHeadSize>;
  auto& results = shared_memory<WarpResults<kHeads, kHeadSize>>();
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const DecodeBlock block(launch, kHeads, kHeadSize);
  const auto rows = launch.source.rows(block.item.sequence, block.kv_head);
  const auto* keys = static_cast<const T*>(launch.source.keys);
  const auto* values = static_cast<const T*>(launch.source.values);
  LaneState<T, kHeadSize, kHeads> state(block, launch.scale_log2, lane);

  // Row i of a round and this lane is at position first + i * kBlockRows.
  constexpr int kBlockRows = kDecodeWarps * Shape::kRows;
  const int end = block.item.end;
  int first = block.item.begin + warp * Shape::kRows + lane / Shape::kLanes;
  std::int32_t entries[Shape::kUnroll] = {};
  const auto look_up = [&] {
#pragma unroll
    for (int i = 0; i < Shape::kUnroll; ++i) {
      if (first + i * kBlockRows < end) {
        entries[i] = rows.entry(first + i * kBlockRows);
      }
    }
  };
  look_up();
  for (int round = block.item.begin; round < end; round += kBlockRows * Shape::kUnroll) {
    uint4 key[Shape::kUnroll][Shape::kChunks] = {};
    uint4 value[Shape::kUnroll][Shape::kChunks] = {};
    bool there[Shape::kUnroll];
#pragma unroll
    for (int i = 0; i < Shape::kUnroll; ++i) {
      const int position = first + i * kBlockRows;
      there[i] = position < end;
      if (there[i]) {
        const std::int64_t offset = rows.offset(entries[i], position);
#pragma unroll
        for (int chunk = 0; chunk < Shape::kChunks; ++chunk) {
          key[i][chunk] = load16_streaming(keys + offset + Shape::element(lane, chunk));
          value[i][chunk] = load16_streaming(values + offset + Shape::element(lane, chunk));
        }
      }
    }
    first += kBlockRows * Shape::kUnroll;
    look_up();
    float scores[Shape::kUnroll][kHeads];
#pragma unroll
    for (int i = 0; i < Shape::kUnroll; ++i) {
      state.dot(key[i], scores[i]);
#pragma unroll
      for (int head = 0; head < kHeads; ++head) {
        scores[i][head] = there[i] ? scores[i][head] : -INFINITY;
      }
    }
    state.add(scores, value);
  }

  state.merge_lanes();
  state.leave(results.acc[warp], lane);
  if (lane == 0) {
#pragma unroll
    for (int head = 0; head < kHeads; ++head) {
      results.max[warp][head] = state.max[head];
      results.sum[warp][head] = state.sum[head];
    }
  }
  write_results(results, block, launch);
}

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
