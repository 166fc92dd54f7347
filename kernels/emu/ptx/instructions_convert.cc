// cvt (PTX ISA, "Data Movement and Conversion Instructions: cvt"): between integers and f32 and f64 in every
// rounding; f16 and bf16 from and to f32.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/emu/float16.h"
#include "kernels/emu/ptx/opcodes.h"
#include "kernels/emu/ptx/rounding.h"

namespace pagelab::emu::ptx {
namespace {

__extension__ using Int128 = __int128;

template <class D, class S>
const Instruction* integer_to_integer(Frame& f, const Instruction* i) {
  const S value = get<S>(f, i->a);
  if ((i->immediate & kSaturate) != 0) {
    set<D>(f, i->d,
           static_cast<D>(
               std::clamp<Int128>(value, std::numeric_limits<D>::min(), std::numeric_limits<D>::max())));
  } else {
    set<D>(f, i->d, static_cast<D>(value));
  }
  return i + 1;
}

template <class D, class S>
D converted(S value, std::int64_t modifier) {
  return finished(rounded<D>(
                      modifier, [](S in) { return static_cast<D>(in); }, value),
                  modifier);
}

template <class D, class S>
const Instruction* integer_to_float(Frame& f, const Instruction* i) {
  set<D>(f, i->d, converted<D>(get<S>(f, i->a), i->immediate));
  return i + 1;
}

template <class T>
T to_integral(T value, std::int64_t modifier) {
  switch (modifier & kRounding) {
    case kToZero:
      return std::trunc(value);
    case kDown:
      return std::floor(value);
    case kUp:
      return std::ceil(value);
    default:
      return std::nearbyint(value);
  }
}

// Out of range becomes the nearest integer of the type. NaN becomes 0, except that conversions from f64 or to
// 64 bits give the highest bit alone (PTX ISA, cvt).
template <class D, class S>
D to_integer(S value, std::int64_t modifier) {
  if (std::isnan(value)) {
    constexpr bool kHighest = sizeof(S) == 8 || sizeof(D) == 8;
    return kHighest ? static_cast<D>(std::uint64_t{1} << (sizeof(D) * 8 - 1)) : D{0};
  }
  const S integral = to_integral(flushed(value, modifier), modifier);
  // The bounds as S: the lowest is exact, one beyond the highest is a power of two.
  const S beyond = std::ldexp(S{1}, std::numeric_limits<D>::digits);
  if (integral >= beyond) {
    return std::numeric_limits<D>::max();
  }
  const S lowest = std::is_signed_v<D> ? -beyond : S{0};
  return integral <= lowest ? std::numeric_limits<D>::min() : static_cast<D>(integral);
}
template <class D, class S>
const Instruction* float_to_integer(Frame& f, const Instruction* i) {
  set<D>(f, i->d, to_integer<D>(get<S>(f, i->a), i->immediate));
  return i + 1;
}

template <class D, class S>
const Instruction* float_to_float(Frame& f, const Instruction* i) {
  set<D>(f, i->d, converted<D>(flushed(get<S>(f, i->a), i->immediate), i->immediate));
  return i + 1;
}
template <class T>
const Instruction* float_to_integral(Frame& f, const Instruction* i) {
  set<T>(f, i->d, finished(to_integral(flushed(get<T>(f, i->a), i->immediate), i->immediate), i->immediate));
  return i + 1;
}

const Instruction* half_to_f32(Frame& f, const Instruction* i) {
  set<float>(f, i->d, f16_to_float(get<std::uint16_t>(f, i->a)));
  return i + 1;
}
const Instruction* bfloat_to_f32(Frame& f, const Instruction* i) {
  set<float>(f, i->d, bf16_to_float(get<std::uint16_t>(f, i->a)));
  return i + 1;
}
template <std::uint16_t (*Convert)(float)>
const Instruction* f32_to_16(Frame& f, const Instruction* i) {
  set<std::uint16_t>(f, i->d, Convert(get<float>(f, i->a)));
  return i + 1;
}
// d = {a in the high half, b in the low half}.
template <std::uint16_t (*Convert)(float)>
const Instruction* f32_to_pair(Frame& f, const Instruction* i) {
  set<std::uint32_t>(f, i->d,
                     std::uint32_t{Convert(get<float>(f, i->a))} << 16 | Convert(get<float>(f, i->b)));
  return i + 1;
}

template <class Make>
Handler pick_any_integer(Type type, Make make) {
  return pick<std::uint8_t, std::uint16_t, std::uint32_t, std::uint64_t, std::int8_t, std::int16_t,
              std::int32_t, std::int64_t>(type, make);
}

Handler short_float_handler(Type to, Type from, std::int64_t modifier) {
  using enum Type;
  if (modifier != kNearest) {
    return nullptr;
  }
  if (to == f32) {
    return from == f16 ? &half_to_f32 : from == bf16 ? &bfloat_to_f32 : nullptr;
  }
  if (from != f32) {
    return nullptr;
  }
  switch (to) {
    case f16:
      return &f32_to_16<float_to_f16>;
    case bf16:
      return &f32_to_16<float_to_bf16>;
    case f16x2:
      return &f32_to_pair<float_to_f16>;
    case bf16x2:
      return &f32_to_pair<float_to_bf16>;
    default:
      return nullptr;
  }
}

Handler handler_for(Type to, Type from, bool integral, std::int64_t modifier) {
  if (is_float(to) && is_float(from)) {
    if (integral && to == from) {
      return pick_float(to, []<class T>() -> Handler { return &float_to_integral<T>; });
    }
    return pick_float(to, [&]<class D>() -> Handler {
      return pick_float(from, []<class S>() -> Handler { return &float_to_float<D, S>; });
    });
  }
  if (is_float(to)) {
    const Handler handler = pick_float(to, [&]<class D>() -> Handler {
      return pick_any_integer(from, []<class S>() -> Handler { return &integer_to_float<D, S>; });
    });
    return handler != nullptr ? handler : short_float_handler(to, from, modifier);
  }
  if (is_float(from)) {
    const Handler handler = pick_any_integer(to, [&]<class D>() -> Handler {
      return pick_float(from, []<class S>() -> Handler { return &float_to_integer<D, S>; });
    });
    return handler != nullptr ? handler : short_float_handler(to, from, modifier);
  }
  return pick_any_integer(to, [&]<class D>() -> Handler {
    return pick_any_integer(from, []<class S>() -> Handler { return &integer_to_integer<D, S>; });
  });
}

Instruction make_convert(Assembler& a, const Statement& s) {
  if (s.has("relu") || s.has("satfinite")) {
    return {};
  }
  const std::int64_t modifier = modifiers(s);
  const bool integral = s.has("rni") || s.has("rzi") || s.has("rmi") || s.has("rpi");
  Instruction made = with_operands(a, s, handler_for(s.second_type(), s.type(), integral, modifier));
  made.immediate = modifier;
  return made;
}

constexpr NamedOpcode kOpcodes[] = {{"cvt", make_convert}};

}  // namespace

std::span<const NamedOpcode> convert_opcodes() {
  return kOpcodes;
}

}  // namespace pagelab::emu::ptx
