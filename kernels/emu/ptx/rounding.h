// Modifiers of floating-point instructions: rounding, .ftz and .sat, as bits of Instruction::immediate.
#pragma once

#include <cfenv>
#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/emu/ptx/assembler.h"

namespace pagelab::emu::ptx {

constexpr std::int64_t kNearest = 0, kToZero = 1, kDown = 2, kUp = 3;  ///< under the mask kRounding
constexpr std::int64_t kRounding = 3;
constexpr std::int64_t kFlush = 4;
constexpr std::int64_t kSaturate = 8;

/// Of the parts rz, rm, rp (rzi, rmi, rpi), ftz and sat.
inline std::int64_t modifiers(const Statement& s) {
  const auto either = [&](std::string_view a, std::string_view b) { return s.has(a) || s.has(b); };
  std::int64_t bits = kNearest;
  if (either("rz", "rzi")) {
    bits = kToZero;
  } else if (either("rm", "rmi")) {
    bits = kDown;
  } else if (either("rp", "rpi")) {
    bits = kUp;
  }
  return bits | (s.has("ftz") ? kFlush : 0) | (s.has("sat") ? kSaturate : 0);
}

/// A subnormal f32 becomes zero of its sign under .ftz.
template <class T>
T flushed(T value, std::int64_t modifier) {
  if (sizeof(T) == 4 && (modifier & kFlush) != 0 && std::fabs(value) < std::numeric_limits<T>::min()) {
    return std::copysign(T{0}, value);
  }
  return value;
}

/// A result under .ftz and .sat: within [0, 1], NaN is 0.
template <class T>
T finished(T value, std::int64_t modifier) {
  value = flushed(value, modifier);
  if ((modifier & kSaturate) == 0) {
    return value;
  }
  return !(value > 0) ? T{0} : value > 1 ? T{1} : value;
}

/// compute(operands...) in the rounding of `modifier`. Operands and result pass through volatile, so that the
/// computation stays between the changes of mode.
template <class Result, class Compute, class... Operands>
Result rounded(std::int64_t modifier, Compute compute, Operands... operands) {
  constexpr int kModes[] = {FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD};
  const auto opaque = []<class T>(T value) -> T {
    volatile T copy = value;
    return copy;
  };
  if ((modifier & kRounding) == kNearest) {
    return compute(operands...);
  }
  std::fesetround(kModes[modifier & kRounding]);
  const Result result = opaque(compute(opaque(operands)...));
  std::fesetround(FE_TONEAREST);
  return result;
}

}  // namespace pagelab::emu::ptx
