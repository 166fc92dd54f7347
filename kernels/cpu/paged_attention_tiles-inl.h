// The register-blocked kernels of paged attention: scores of some rows against tiles of K, weights from
// scores, and V added up under the weights. Included once per target by paged_attention-inl.h.
//
// What is added to what, and in which order, is the same for every kernel, so that a row's result does not
// depend on the rows beside it: a score is a chain over the dimensions 0, 1, ...; the maximum and the sum go
// over vectors of tokens in order, then over lanes; an output is a chain over the tokens 0, 1, ... that the
// row sees. Kernels differ only in how many such chains they run side by side.
#if defined(PAGELAB_KERNELS_CPU_PAGED_ATTENTION_TILES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PAGELAB_KERNELS_CPU_PAGED_ATTENTION_TILES_INL_H_
#undef PAGELAB_KERNELS_CPU_PAGED_ATTENTION_TILES_INL_H_
#else
#define PAGELAB_KERNELS_CPU_PAGED_ATTENTION_TILES_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>
#include <limits>
#include <type_traits>

#include "kernels/cpu/exp2-inl.h"
#include "kernels/cpu/kv_cache.h"
#include "kernels/cpu/paged_attention_kernels.h"

HWY_BEFORE_NAMESPACE();
namespace pagelab::kernels::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using F32 = hn::CappedTag<float, kTileTokens>;
constexpr auto kLanes = static_cast<std::int32_t>(hn::MaxLanes(F32()));
// Two accumulators a row: 24 of AVX-512's 32 registers, 8 of the 16 that others have.
constexpr std::int32_t kMaxRows = kLanes == 16 ? 12 : 4;
constexpr std::int32_t kCacheLine = 64;
// How far ahead of their use tiles are fetched, in steps of the walk; some 16 KB.
constexpr std::int32_t kTilesAhead = 6;
constexpr std::int32_t kPairsAhead = 2;

HWY_INLINE void prefetch(const void* address) {
  __builtin_prefetch(address, 0, 3);
}

template <class D>
HWY_INLINE hn::Vec<D> load_wide(D d, const float* from) {
  return hn::LoadU(d, from);
}
template <class D, class T>
HWY_INLINE hn::Vec<D> load_wide(D d, const T* from) {
  return hn::PromoteTo(d, hn::LoadU(hn::Rebind<T, D>(), from));
}

/// Cuts `rows` into the tiles that kernels exist for; body(first, std::integral_constant<count>).
template <class Body>
HWY_INLINE void for_each_row_tile(std::int32_t rows, Body&& body) {
  std::int32_t first = 0;
  const auto take = [&](auto count) {
    if constexpr (decltype(count)::value <= kMaxRows) {
      for (; first + count <= rows; first += count) {
        body(first, count);
      }
    }
  };
  take(std::integral_constant<std::int32_t, 12>());
  take(std::integral_constant<std::int32_t, 8>());
  take(std::integral_constant<std::int32_t, 4>());
  take(std::integral_constant<std::int32_t, 2>());
  take(std::integral_constant<std::int32_t, 1>());
}

/// One K tile [head_size][kTileTokens] to score.
template <class T>
struct KeyTile {
  const T* keys;
  const float* q;          ///< packed [head_size][kRows]
  float* scores;           ///< rows kScoreStride apart
  const std::byte* ahead;  ///< a later tile, fetched meanwhile
};

/// kRows x kTiles scores; with kShareQ all tiles are for the same rows.
template <class T, int kRows, int kTiles, bool kShareQ>
HWY_INLINE void score_tiles(const KeyTile<T>* tiles, std::int32_t head_size) {
  const F32 d;
  using V = hn::Vec<F32>;
  for (std::int32_t lane = 0; lane < kTileTokens; lane += kLanes) {
    V sums[kTiles * kRows];
    const T* keys[kTiles];
    const float* q[kTiles];
#pragma GCC unroll 24
    for (int i = 0; i < kTiles * kRows; ++i) {
      sums[i] = hn::Zero(d);
    }
#pragma GCC unroll 4
    for (int tile = 0; tile < kTiles; ++tile) {
      keys[tile] = tiles[tile].keys + lane;
      q[tile] = tiles[tile].q;
    }
    constexpr std::int32_t kStepsPerLine = kCacheLine / (kTileTokens * sizeof(T));
    for (std::int32_t line = 0; line < head_size; line += kStepsPerLine) {
#pragma GCC unroll 4
      for (int tile = 0; tile < kTiles; ++tile) {
        prefetch(tiles[tile].ahead +
                 std::ptrdiff_t{line} * kTileTokens * static_cast<std::ptrdiff_t>(sizeof(T)));
      }
#pragma GCC unroll 2
      for (std::int32_t i = line; i < line + kStepsPerLine; ++i) {
        V k[kTiles];
#pragma GCC unroll 4
        for (int tile = 0; tile < kTiles; ++tile) {
          k[tile] = load_wide(d, keys[tile] + std::ptrdiff_t{i} * kTileTokens);
        }
#pragma GCC unroll 12
        for (int row = 0; row < kRows; ++row) {
          if constexpr (kShareQ) {
            const V value = hn::Set(d, q[0][std::ptrdiff_t{i} * kRows + row]);
#pragma GCC unroll 4
            for (int tile = 0; tile < kTiles; ++tile) {
              sums[tile * kRows + row] = hn::MulAdd(value, k[tile], sums[tile * kRows + row]);
            }
          } else {
#pragma GCC unroll 4
            for (int tile = 0; tile < kTiles; ++tile) {
              const V value = hn::Set(d, q[tile][std::ptrdiff_t{i} * kRows + row]);
              sums[tile * kRows + row] = hn::MulAdd(value, k[tile], sums[tile * kRows + row]);
            }
          }
        }
      }
    }
#pragma GCC unroll 4
    for (int tile = 0; tile < kTiles; ++tile) {
#pragma GCC unroll 12
      for (int row = 0; row < kRows; ++row) {
        hn::StoreU(sums[tile * kRows + row], d, tiles[tile].scores + row * kScoreStride + lane);
      }
    }
  }
}

/// Tokens whose V is to be added.
struct ValueRun {
  const std::byte* const* rows;  ///< each token's address
  std::ptrdiff_t offset;         ///< bytes from rows[token] to the head
  const std::byte* ahead[2];     ///< tiles fetched during the first and the next 16 tokens; null: none
  std::int32_t count;
};

/// acc[row, 0 .. kVectors) += weights[row][token] * V[token] over the run, for the dimensions from `dim` on.
template <class T, int kRows, int kVectors, class D>
HWY_INLINE void add_values(D d, const ValueRun& run, const float* weights, std::int32_t dim,
                           std::int32_t head_size, float* acc) {
  using V = hn::Vec<D>;
  constexpr std::ptrdiff_t kWidth = static_cast<std::ptrdiff_t>(hn::MaxLanes(D()));
  V sums[kRows * kVectors];
#pragma GCC unroll 12
  for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 8
    for (int i = 0; i < kVectors; ++i) {
      sums[row * kVectors + i] = hn::LoadU(d, acc + std::ptrdiff_t{row} * head_size + dim + i * kWidth);
    }
  }
  const std::ptrdiff_t column = run.offset + dim * static_cast<std::ptrdiff_t>(sizeof(T));
  for (std::int32_t token = 0; token < run.count; ++token) {
    const T* values = reinterpret_cast<const T*>(run.rows[token] + column);
    V v[kVectors];
#pragma GCC unroll 8
    for (int i = 0; i < kVectors; ++i) {
      v[i] = load_wide(d, values + i * kWidth);
    }
    if (run.ahead[0] != nullptr) {
      const std::byte* ahead =
          run.ahead[token / kTileTokens] +
          (std::ptrdiff_t{token % kTileTokens} * head_size + dim) * static_cast<std::ptrdiff_t>(sizeof(T));
#pragma GCC unroll 8
      for (std::ptrdiff_t byte = 0; byte < kVectors * kWidth * static_cast<std::ptrdiff_t>(sizeof(T));
           byte += kCacheLine) {
        prefetch(ahead + byte);
      }
    }
#pragma GCC unroll 12
    for (int row = 0; row < kRows; ++row) {
      const V weight = hn::Set(d, weights[row * kScoreStride + token]);
#pragma GCC unroll 8
      for (int i = 0; i < kVectors; ++i) {
        sums[row * kVectors + i] = hn::MulAdd(weight, v[i], sums[row * kVectors + i]);
      }
    }
  }
#pragma GCC unroll 12
  for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 8
    for (int i = 0; i < kVectors; ++i) {
      hn::StoreU(sums[row * kVectors + i], d, acc + std::ptrdiff_t{row} * head_size + dim + i * kWidth);
    }
  }
}

/// The same over all dimensions of a head.
template <class T, int kRows>
HWY_INLINE void add_values_of_head(const ValueRun& run, const float* weights, std::int32_t head_size,
                                   float* acc) {
  const F32 d;
  constexpr int kVectors = kRows == 1 ? 8 : kRows == 2 ? 4 : 2;
  std::int32_t dim = 0;
  for (; dim + kVectors * kLanes <= head_size; dim += kVectors * kLanes) {
    add_values<T, kRows, kVectors>(d, run, weights, dim, head_size, acc);
  }
  if constexpr (kVectors > 4) {
    for (; dim + 4 * kLanes <= head_size; dim += 4 * kLanes) {
      add_values<T, kRows, 4>(d, run, weights, dim, head_size, acc);
    }
  }
  for (; dim + kLanes <= head_size; dim += kLanes) {
    add_values<T, kRows, 1>(d, run, weights, dim, head_size, acc);
  }
  if (kLanes > 8 && dim < head_size) {
    add_values<T, kRows, 1>(hn::CappedTag<float, 8>(), run, weights, dim, head_size, acc);
  }
}

/// Turns the scores of one row into weights, in place; gives their maximum and the sum of weights.
HWY_INLINE void weigh(float* scores, std::int32_t limit, float& max, float& sum) {
  const F32 d;
  using V = hn::Vec<F32>;
  const V masked = hn::Set(d, -std::numeric_limits<float>::infinity());
  const std::int32_t whole = limit / kLanes * kLanes;
  const auto tail = hn::FirstN(d, static_cast<std::size_t>(limit - whole));
  if (whole < limit) {  // what lies past the limit may be anything
    hn::StoreU(hn::IfThenElse(tail, hn::LoadU(d, scores + whole), masked), d, scores + whole);
  }
  V maxima = masked;
  for (std::int32_t i = 0; i < limit; i += kLanes) {
    maxima = hn::Max(maxima, hn::LoadU(d, scores + i));
  }
  const V most = hn::MaxOfLanes(d, maxima);
  V sums = hn::Zero(d);
  for (std::int32_t i = 0; i < limit; i += kLanes) {
    const V weights = exp2_nonpositive(d, hn::Sub(hn::LoadU(d, scores + i), most));
    hn::StoreU(weights, d, scores + i);
    sums = hn::Add(sums, weights);
  }
  max = hn::GetLane(most);
  sum = hn::GetLane(hn::SumOfLanes(d, sums));
}

/// Turns the scores of one row into its share of attention per token, given its softmax over the whole
/// context, in place; multiples of 2^-23.
HWY_INLINE void share_out(float* scores, std::int32_t limit, float max, float sum) {
  const F32 d;
  const auto most = hn::Set(d, max);
  const auto inverse = hn::Set(d, 1.0f / sum);
  const auto one = hn::Set(d, 1.0f);
  for (std::int32_t i = 0; i < limit; i += kLanes) {  // what lies past the limit may be anything
    const auto weights = hn::Mul(exp2_nonpositive(d, hn::Sub(hn::LoadU(d, scores + i), most)), inverse);
    hn::StoreU(hn::Sub(hn::Add(weights, one), one), d, scores + i);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace pagelab::kernels::cpu
HWY_AFTER_NAMESPACE();

#endif
