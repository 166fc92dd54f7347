// The activation functions on vectors of f32, for the matrix product's epilogue and for activation.cc.
// Included once per target by sources that use Highway's dynamic dispatch. The relative error is a few
// roundings; in the left tails it grows with the exponent, to some 1e-5 where the result has fallen to 1e-29.
#if defined(PAGELAB_KERNELS_CPU_ACTIVATION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PAGELAB_KERNELS_CPU_ACTIVATION_INL_H_
#undef PAGELAB_KERNELS_CPU_ACTIVATION_INL_H_
#else
#define PAGELAB_KERNELS_CPU_ACTIVATION_INL_H_
#endif

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include "kernels/ops.h"

HWY_BEFORE_NAMESPACE();
namespace pagelab::kernels::cpu {
namespace HWY_NAMESPACE {

/// x / (1 + exp(-argument)); the exponent is capped where the quotient has vanished.
template <class D, class V>
HWY_INLINE V times_sigmoid(D d, V x, V argument) {
  namespace hn = hwy::HWY_NAMESPACE;
  const V exponent = hn::Min(hn::Neg(argument), hn::Set(d, 88.0f));
  return hn::Div(x, hn::Add(hn::Set(d, 1.0f), hn::Exp(d, exponent)));
}

template <class D, class V>
HWY_INLINE V silu(D d, V x) {
  return times_sigmoid(d, x, x);
}

/// erfc(z) for z >= 0 as t exp(-z^2 + P(t)) with t = 1 / (1 + z / 2): the form of Press et al., Numerical
/// Recipes, section 6.2; P interpolates log(erfc(z) / t) + z^2 at the Chebyshev nodes of z in [0, 10].
template <class D, class V>
HWY_INLINE V erfc_positive(D d, V z) {
  namespace hn = hwy::HWY_NAMESPACE;
  constexpr float kP[10] = {-1.26545493f, 0.99878246f,  0.38528363f, 0.04139597f,  -0.01950801f,
                            -0.03986631f, -0.74646990f, 1.19532768f, -0.69753659f, 0.14804605f};
  z = hn::Min(z, hn::Set(d, 10.0f));
  const V t = hn::Div(hn::Set(d, 1.0f), hn::MulAdd(hn::Set(d, 0.5f), z, hn::Set(d, 1.0f)));
  V p = hn::Set(d, kP[9]);
  for (int i = 8; i >= 0; --i) {
    p = hn::MulAdd(p, t, hn::Set(d, kP[i]));
  }
  return hn::Mul(t, hn::Exp(d, hn::NegMulAdd(z, z, p)));
}

/// x * Phi(x), the exact form.
template <class D, class V>
HWY_INLINE V gelu(D d, V x) {
  namespace hn = hwy::HWY_NAMESPACE;
  const V tail = hn::Mul(hn::Set(d, 0.5f), erfc_positive(d, hn::Mul(hn::Abs(x), hn::Set(d, 0.70710678f))));
  const V phi = hn::IfThenElse(hn::Lt(x, hn::Zero(d)), tail, hn::Sub(hn::Set(d, 1.0f), tail));
  return hn::Mul(x, phi);
}

/// 0.5 x (1 + tanh(u)) = x / (1 + exp(-2 u)), u = sqrt(2 / pi) (x + 0.044715 x^3).
template <class D, class V>
HWY_INLINE V gelu_tanh(D d, V x) {
  namespace hn = hwy::HWY_NAMESPACE;
  const V cubic = hn::MulAdd(hn::Mul(hn::Mul(x, x), hn::Set(d, 0.044715f)), x, x);
  return times_sigmoid(d, x, hn::Mul(hn::Set(d, 1.59576912f), cubic));
}

template <Activation kActivation, class D, class V>
HWY_INLINE V activate(D d, V x) {
  namespace hn = hwy::HWY_NAMESPACE;
  if constexpr (kActivation == Activation::relu) {
    return hn::Max(x, hn::Zero(d));
  } else if constexpr (kActivation == Activation::gelu) {
    return gelu(d, x);
  } else if constexpr (kActivation == Activation::gelu_tanh) {
    return gelu_tanh(d, x);
  } else {
    return x;
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace pagelab::kernels::cpu
HWY_AFTER_NAMESPACE();

#endif
