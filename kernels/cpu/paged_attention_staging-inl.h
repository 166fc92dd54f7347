// Gathers a K tile [d][kTileTokens] from blocks that hold K as [d][width], width not being the tile's: a
// transpose of elements of `width` tokens where the width divides the tile's, plain loops elsewhere. Included
// once per target by paged_attention-inl.h.
#if defined(PAGELAB_KERNELS_CPU_PAGED_ATTENTION_STAGING_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PAGELAB_KERNELS_CPU_PAGED_ATTENTION_STAGING_INL_H_
#undef PAGELAB_KERNELS_CPU_PAGED_ATTENTION_STAGING_INL_H_
#else
#define PAGELAB_KERNELS_CPU_PAGED_ATTENTION_STAGING_INL_H_
#endif

#include <hwy/highway.h>

#include <cstring>
#include <type_traits>

#include "kernels/cpu/kv_cache.h"

HWY_BEFORE_NAMESPACE();
namespace pagelab::kernels::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// to[column * kRows + row] = rows[row][column] for elements of kBytes bytes.
template <int kRows, int kBytes>
HWY_INLINE void transpose(const std::byte* const* rows, std::int32_t columns, std::byte* to) {
#if HWY_TARGET != HWY_SCALAR
  // Interleaving the first half of the rows with the second, log2(n) times, transposes n x n.
  using E = std::conditional_t<kBytes == 2, std::uint16_t,
                               std::conditional_t<kBytes == 4, std::uint32_t, std::uint64_t>>;
  constexpr int kSide = 16 / kBytes;
  if constexpr (kSide > 1 && kRows % kSide == 0) {
    const hn::CappedTag<E, kSide> d;
    using V = hn::Vec<decltype(d)>;
    for (std::int32_t column = 0; column < columns; column += kSide) {
      for (int group = 0; group < kRows; group += kSide) {
        V square[kSide];
        V next[kSide];
#pragma GCC unroll 8
        for (int i = 0; i < kSide; ++i) {
          square[i] = hn::LoadU(d, reinterpret_cast<const E*>(rows[group + i]) + column);
        }
#pragma GCC unroll 3
        for (int stage = 1; stage < kSide; stage *= 2) {
#pragma GCC unroll 4
          for (int i = 0; i < kSide / 2; ++i) {
            next[2 * i] = hn::InterleaveLower(d, square[i], square[i + kSide / 2]);
            next[2 * i + 1] = hn::InterleaveUpper(d, square[i], square[i + kSide / 2]);
          }
#pragma GCC unroll 8
          for (int i = 0; i < kSide; ++i) {
            square[i] = next[i];
          }
        }
#pragma GCC unroll 8
        for (int i = 0; i < kSide; ++i) {
          hn::StoreU(square[i], d, reinterpret_cast<E*>(to) + std::ptrdiff_t{column + i} * kRows + group);
        }
      }
    }
    return;
  }
#endif
  for (std::int32_t column = 0; column < columns; ++column) {
    for (int row = 0; row < kRows; ++row) {
      std::memcpy(to + (std::ptrdiff_t{column} * kRows + row) * kBytes,
                  rows[row] + std::ptrdiff_t{column} * kBytes, kBytes);
    }
  }
}

template <int kWidth, class T>
HWY_INLINE void gather_blocks(const std::byte* const* tokens, std::int32_t count, std::ptrdiff_t offset,
                              std::int32_t head_size, T* tile) {
  constexpr int kBlocks = kTileTokens / kWidth;
  const std::byte* blocks[kBlocks];
  for (int i = 0; i < kBlocks; ++i) {  // what lies past `count` is never used, so any block will do
    blocks[i] = tokens[i * kWidth < count ? i * kWidth : 0] + offset;
  }
  transpose<kBlocks, kWidth* static_cast<int>(sizeof(T))>(blocks, head_size,
                                                          reinterpret_cast<std::byte*>(tile));
}

/// `tokens` gives the address of dimension 0 of each of the tile's `count` tokens, `offset` bytes short.
template <class T>
HWY_INLINE void gather_tile(const std::byte* const* tokens, std::int32_t count, std::ptrdiff_t offset,
                            std::int32_t width, std::int32_t head_size, T* tile) {
  switch (width) {
    case 1:
      return gather_blocks<1>(tokens, count, offset, head_size, tile);
    case 2:
      return gather_blocks<2>(tokens, count, offset, head_size, tile);
    case 4:
      return gather_blocks<4>(tokens, count, offset, head_size, tile);
    case 8:
      return gather_blocks<8>(tokens, count, offset, head_size, tile);
    default:
      break;
  }
  for (std::int32_t token = 0; token < count; ++token) {
    const T* from = reinterpret_cast<const T*>(tokens[token] + offset);
    for (std::int32_t d = 0; d < head_size; ++d) {
      tile[d * kTileTokens + token] = from[std::ptrdiff_t{d} * width];
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace pagelab::kernels::cpu
HWY_AFTER_NAMESPACE();

#endif
