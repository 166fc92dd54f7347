#include "kernels/cpu/rotary.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/rotary.cc"
#include <hwy/foreach_target.h>
// Highway must come first.
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace pagelab::kernels::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr std::int32_t kMaxPairs = 128;

/// Sine and cosine of angles in [0, 2^31): reduced by multiples of pi / 2 in f64, then Taylor's series; exact
/// to f32. Arrays are padded to whole vectors.
HWY_INLINE void sine_cosine(const float* angles, std::int32_t count, float* sines, float* cosines) {
  const hn::CappedTag<double, 8> d;
  const hn::Rebind<float, decltype(d)> df;
  using V = hn::Vec<decltype(d)>;
  for (std::int32_t i = 0; i < count; i += static_cast<std::int32_t>(hn::Lanes(d))) {
    const V x = hn::PromoteTo(d, hn::Load(df, angles + i));
    const V turns = hn::Round(hn::Mul(x, hn::Set(d, 0.63661977236758134308)));
    V r = hn::NegMulAdd(turns, hn::Set(d, 1.5707963267948966192), x);
    r = hn::NegMulAdd(turns, hn::Set(d, 6.1232339957367658e-17), r);
    const V r2 = hn::Mul(r, r);
    V s = hn::Set(d, -1.0 / 39916800);
    s = hn::MulAdd(s, r2, hn::Set(d, 1.0 / 362880));
    s = hn::MulAdd(s, r2, hn::Set(d, -1.0 / 5040));
    s = hn::MulAdd(s, r2, hn::Set(d, 1.0 / 120));
    s = hn::MulAdd(s, r2, hn::Set(d, -1.0 / 6));
    s = hn::MulAdd(hn::Mul(s, r2), r, r);
    V c = hn::Set(d, 1.0 / 479001600);
    c = hn::MulAdd(c, r2, hn::Set(d, -1.0 / 3628800));
    c = hn::MulAdd(c, r2, hn::Set(d, 1.0 / 40320));
    c = hn::MulAdd(c, r2, hn::Set(d, -1.0 / 720));
    c = hn::MulAdd(c, r2, hn::Set(d, 1.0 / 24));
    c = hn::MulAdd(c, r2, hn::Set(d, -0.5));
    c = hn::MulAdd(c, r2, hn::Set(d, 1.0));
    const V quadrant = hn::NegMulAdd(hn::Floor(hn::Mul(turns, hn::Set(d, 0.25))), hn::Set(d, 4.0), turns);
    const auto first = hn::Eq(quadrant, hn::Set(d, 1.0));
    const auto second = hn::Eq(quadrant, hn::Set(d, 2.0));
    const auto third = hn::Eq(quadrant, hn::Set(d, 3.0));
    const auto swapped = hn::Or(first, third);
    const V sine = hn::IfThenElse(swapped, c, s);
    const V cosine = hn::IfThenElse(swapped, s, c);
    hn::Store(hn::DemoteTo(df, hn::IfThenElse(hn::Or(second, third), hn::Neg(sine), sine)), df, sines + i);
    hn::Store(hn::DemoteTo(df, hn::IfThenElse(hn::Or(first, second), hn::Neg(cosine), cosine)), df,
              cosines + i);
  }
}

/// Rotates `heads` heads that follow each other from `x` on.
void RotateRow(float* x, std::int32_t heads, std::int32_t head_size, std::int32_t position,
               const float* inv_freq) {
  HWY_ALIGN float angles[kMaxPairs + 8] = {};
  HWY_ALIGN float sines[kMaxPairs + 8];
  HWY_ALIGN float cosines[kMaxPairs + 8];
  const std::int32_t pairs = head_size / 2;
  for (std::int32_t i = 0; i < pairs; ++i) {
    angles[i] = static_cast<float>(position) * inv_freq[i];
  }
  sine_cosine(angles, pairs, sines, cosines);
  const hn::CappedTag<float, 16> d;
  const auto lanes = static_cast<std::int32_t>(hn::Lanes(d));
  for (std::int32_t head = 0; head < heads; ++head, x += head_size) {
    float* y = x + pairs;
    std::int32_t i = 0;
    for (; i + lanes <= pairs; i += lanes) {
      const auto sine = hn::LoadU(d, sines + i);
      const auto cosine = hn::LoadU(d, cosines + i);
      const auto low = hn::LoadU(d, x + i);
      const auto high = hn::LoadU(d, y + i);
      hn::StoreU(hn::NegMulAdd(high, sine, hn::Mul(low, cosine)), d, x + i);
      hn::StoreU(hn::MulAdd(low, sine, hn::Mul(high, cosine)), d, y + i);
    }
    for (; i < pairs; ++i) {
      const float low = x[i];
      x[i] = low * cosines[i] - y[i] * sines[i];
      y[i] = low * sines[i] + y[i] * cosines[i];
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace pagelab::kernels::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pagelab::kernels::cpu {
HWY_EXPORT(RotateRow);

void rotary(ThreadPool& pool, Tensor x, std::int32_t heads, std::int32_t head_size,
            std::span<const std::int32_t> positions, const Rotary& rotary) {
  pool.for_each(x.rows, [&](std::int64_t row, int) {
    HWY_DYNAMIC_DISPATCH(RotateRow)
    (x.row(static_cast<std::int32_t>(row)), heads, head_size, positions[static_cast<std::size_t>(row)],
     rotary.inv_freq.data());
  });
}

}  // namespace pagelab::kernels::cpu
#endif
