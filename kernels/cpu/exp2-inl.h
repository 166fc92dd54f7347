// 2^x on vectors of f32 for x <= 0: relative error below 1e-7, 2^0 == 1 exactly, 0 below -126 (subnormal
// results are flushed), NaN for NaN. The same operations on every lane, so a value's result does not depend
// on its lane. Per-target: include only from files that Highway compiles once per target.
#if defined(PAGELAB_KERNELS_CPU_EXP2_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PAGELAB_KERNELS_CPU_EXP2_INL_H_
#undef PAGELAB_KERNELS_CPU_EXP2_INL_H_
#else
#define PAGELAB_KERNELS_CPU_EXP2_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace pagelab::kernels::cpu {
namespace HWY_NAMESPACE {

template <class D, class V = hwy::HWY_NAMESPACE::Vec<D>>
HWY_INLINE V exp2_nonpositive(D d, V x) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::RebindToSigned<D> di;
  const V lowest = hn::Set(d, -126.0f);
  const auto underflow = hn::Lt(x, lowest);
  const V bounded = hn::IfThenElse(underflow, lowest, x);
  // Adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the low bits, whatever the value: a
  // conversion would be undefined for the NaN of slots that are masked later.
  const V magic = hn::Set(d, 12582912.0f);
  const V shifted = hn::Add(bounded, magic);
  const V part = hn::Sub(bounded, hn::Sub(shifted, magic));  // in [-0.5, 0.5], exact
  // 1 + part * P(part), P interpolating (2^x - 1) / x at the Chebyshev nodes: relative error 1e-8.
  V y = hn::Set(d, 1.545316294e-4f);
  y = hn::MulAdd(y, part, hn::Set(d, 1.339086336e-3f));
  y = hn::MulAdd(y, part, hn::Set(d, 9.618082557e-3f));
  y = hn::MulAdd(y, part, hn::Set(d, 5.550357114e-2f));
  y = hn::MulAdd(y, part, hn::Set(d, 2.402265076e-1f));
  y = hn::MulAdd(y, part, hn::Set(d, 6.931471880e-1f));
  y = hn::MulAdd(y, part, hn::Set(d, 1.0f));
  const auto exponent = hn::ShiftLeft<23>(hn::BitCast(di, shifted));
  const V scale = hn::BitCast(d, hn::Add(exponent, hn::Set(di, 127 << 23)));
  return hn::IfThenZeroElse(underflow, hn::Mul(y, scale));
}

}  // namespace HWY_NAMESPACE
}  // namespace pagelab::kernels::cpu
HWY_AFTER_NAMESPACE();

#endif
