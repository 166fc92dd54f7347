#include "kernels/cpu/gemm_kernel.h"

#include <array>
#include <utility>

#include "kernels/cpu/packed_matrix.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/gemm_kernel.cc"
#include <hwy/foreach_target.h>
// Highway must come first.
#include <hwy/highway.h>

#include "kernels/cpu/activation-inl.h"
#include "kernels/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace pagelab::kernels::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr std::int64_t kHalfPanel = kPanelWidth / 2;
using F32 = hn::CappedTag<float, kHalfPanel>;
using V = hn::Vec<F32>;
constexpr auto kLanes = static_cast<std::int64_t>(hn::MaxLanes(F32()));
// Two accumulators a row: 24 of AVX-512's 32 registers, 8 of the 16 that others have.
constexpr std::int32_t kMaxRows = HWY_TARGET <= HWY_AVX3 && HWY_ARCH_X86 ? 12 : 4;

// A panel's step as vectors of f32: `low` holds columns lane .. lane + kLanes - 1, `high` those 16 further
// on.
struct LoadF32 {
  static constexpr std::int64_t kStepBytes = kPanelWidth * 4;
  static HWY_INLINE void load(const std::byte* step, std::int64_t lane, V& low, V& high) {
    const float* values = reinterpret_cast<const float*>(step) + lane;
    low = hn::LoadU(F32(), values);
    high = hn::LoadU(F32(), values + kHalfPanel);
  }
};

struct LoadBf16 {
  static constexpr std::int64_t kStepBytes = kPanelWidth * 2;
  static HWY_INLINE void load(const std::byte* step, std::int64_t lane, V& low, V& high) {
    const hn::RebindToUnsigned<F32> u32;
    const auto pairs = hn::LoadU(u32, reinterpret_cast<const std::uint32_t*>(step) + lane);
    low = hn::BitCast(F32(), hn::ShiftLeft<16>(pairs));
    high = hn::BitCast(F32(), hn::And(pairs, hn::Set(u32, 0xffff0000u)));
  }
};

struct LoadF16 {
  static constexpr std::int64_t kStepBytes = kPanelWidth * 2;
  static HWY_INLINE void load(const std::byte* step, std::int64_t lane, V& low, V& high) {
    const hn::Rebind<hwy::float16_t, F32> f16;
    const auto* values = reinterpret_cast<const hwy::float16_t*>(step) + lane;
    low = hn::PromoteTo(F32(), hn::LoadU(f16, values));
    high = hn::PromoteTo(F32(), hn::LoadU(f16, values + kHalfPanel));
  }
};

/// kRows x (2 vectors) of the tile, starting at column `lane`.
template <class Loader, int kRows>
HWY_INLINE void accumulate_columns(const GemmTile& tile, std::int64_t lane, std::int64_t prefetch_steps) {
  const F32 d;
  V low[kRows];
  V high[kRows];
#pragma GCC unroll 16
  for (int row = 0; row < kRows; ++row) {
    float* sums = tile.sums + row * kPanelWidth + lane;
    low[row] = tile.first ? hn::Zero(d) : hn::LoadU(d, sums);
    high[row] = tile.first ? hn::Zero(d) : hn::LoadU(d, sums + kHalfPanel);
  }
  const float* HWY_RESTRICT x0 = tile.x;
  const float* HWY_RESTRICT x1 = x0 + tile.x_group;
  const float* HWY_RESTRICT x2 = x1 + tile.x_group;
  const std::byte* HWY_RESTRICT step = tile.weights;
  const std::byte* ahead = tile.prefetch;
  for (std::int64_t k = 0; k < tile.k; ++k) {
    V w_low;
    V w_high;
    Loader::load(step, lane, w_low, w_high);
    if (k < prefetch_steps) {
      for (std::int64_t line = 0; line < Loader::kStepBytes; line += 64) {
        __builtin_prefetch(ahead + line, 0, 2);
      }
      ahead += Loader::kStepBytes;
    }
#pragma GCC unroll 16
    for (int row = 0; row < kRows; ++row) {
      const float* x = row < 4 ? x0 + row : row < 8 ? x1 + (row - 4) : x2 + (row - 8);
      const V value = hn::Set(d, *x);
      low[row] = hn::MulAdd(value, w_low, low[row]);
      high[row] = hn::MulAdd(value, w_high, high[row]);
    }
    x0 += tile.x_step;
    x1 += tile.x_step;
    x2 += tile.x_step;
    step += Loader::kStepBytes;
  }
#pragma GCC unroll 16
  for (int row = 0; row < kRows; ++row) {
    float* sums = tile.sums + row * kPanelWidth + lane;
    hn::StoreU(low[row], d, sums);
    hn::StoreU(high[row], d, sums + kHalfPanel);
  }
}

template <class Loader, int kRows>
void accumulate(const GemmTile& tile) {
  accumulate_columns<Loader, kRows>(tile, 0, tile.prefetch_steps);
  for (std::int64_t lane = kLanes; lane < kHalfPanel; lane += kLanes) {
    accumulate_columns<Loader, kRows>(tile, lane, 0);
  }
}

using TileFunction = void (*)(const GemmTile&);

template <class Loader, int... kIndex>
constexpr std::array<TileFunction, kMaxRows> tile_functions(std::integer_sequence<int, kIndex...>) {
  return {accumulate<Loader, kIndex + 1>...};
}

void AccumulateTile(const GemmTile& tile) {
  using Heights = std::make_integer_sequence<int, kMaxRows>;
  static constexpr std::array<TileFunction, kMaxRows> kF32 = tile_functions<LoadF32>(Heights());
  static constexpr std::array<TileFunction, kMaxRows> kBf16 = tile_functions<LoadBf16>(Heights());
  static constexpr std::array<TileFunction, kMaxRows> kF16 = tile_functions<LoadF16>(Heights());
  const auto& functions = tile.dtype == DType::f32 ? kF32 : tile.dtype == DType::bf16 ? kBf16 : kF16;
  functions[tile.rows - 1](tile);
}

std::int32_t MaxTileRows() {
  return kMaxRows;
}

template <Activation kActivation>
void finish_rows(const GemmFinish& finish) {
  const F32 d;
  for (std::int32_t row = 0; row < finish.rows; ++row) {
    const float* sums = finish.sums + std::int64_t{row} * kPanelWidth;
    float* out = finish.out + row * finish.out_stride;
    for (std::int64_t col = 0; col < finish.cols; col += kLanes) {
      const std::int64_t left = finish.cols - col;
      V value = hn::LoadU(d, sums + col);
      if (finish.bias != nullptr) {
        value = hn::Add(value, load_first(d, finish.bias + col, left));
      }
      value = activate<kActivation>(d, value);
      if (finish.accumulate) {
        value = hn::Add(value, load_first(d, out + col, left));
      }
      store_first(value, d, out + col, left);
    }
  }
}

void FinishTile(const GemmFinish& finish) {
  switch (finish.activation) {
    case Activation::none:
      return finish_rows<Activation::none>(finish);
    case Activation::relu:
      return finish_rows<Activation::relu>(finish);
    case Activation::gelu:
      return finish_rows<Activation::gelu>(finish);
    case Activation::gelu_tanh:
      return finish_rows<Activation::gelu_tanh>(finish);
  }
}

void PackRows(const float* x, std::int64_t stride, std::int32_t rows, std::int64_t k, float* packed) {
  const F32 d;
  std::int64_t i = 0;
  if (rows == kRowGroup) {
    for (; i + kLanes <= k; i += kLanes) {
      hn::StoreInterleaved4(hn::LoadU(d, x + i), hn::LoadU(d, x + stride + i),
                            hn::LoadU(d, x + 2 * stride + i), hn::LoadU(d, x + 3 * stride + i), d,
                            packed + i * kRowGroup);
    }
  }
  for (; i < k; ++i) {
    for (std::int32_t row = 0; row < kRowGroup; ++row) {
      packed[i * kRowGroup + row] = row < rows ? x[row * stride + i] : 0.0f;
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace pagelab::kernels::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pagelab::kernels::cpu {

HWY_EXPORT(MaxTileRows);
HWY_EXPORT(AccumulateTile);
HWY_EXPORT(FinishTile);
HWY_EXPORT(PackRows);

std::int32_t max_tile_rows() {
  return HWY_DYNAMIC_DISPATCH(MaxTileRows)();
}
void accumulate_tile(const GemmTile& tile) {
  HWY_DYNAMIC_DISPATCH(AccumulateTile)(tile);
}
void finish_tile(const GemmFinish& finish) {
  HWY_DYNAMIC_DISPATCH(FinishTile)(finish);
}
void pack_rows(const float* x, std::int64_t stride, std::int32_t rows, std::int64_t k, float* packed) {
  HWY_DYNAMIC_DISPATCH(PackRows)(x, stride, rows, k, packed);
}

}  // namespace pagelab::kernels::cpu
#endif  // HWY_ONCE
