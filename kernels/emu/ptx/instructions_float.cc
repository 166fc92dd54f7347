// Floating-point arithmetic of f32 and f64 (PTX ISA, "Floating Point Instructions"). Results are correctly
// rounded; where PTX allows an approximation (.approx, .full) the machine is closer to the true value than
// hardware, so that tolerances must not be drawn from it. NaN payloads are the host's, except that min and
// max give 0x7fffffff.
#include <bit>
#include <cmath>

#include "kernels/emu/ptx/opcodes.h"
#include "kernels/emu/ptx/rounding.h"

namespace pagelab::emu::ptx {
namespace {

struct Add {
  template <class T>
  static T apply(T a, T b) {
    return a + b;
  }
};
struct Subtract {
  template <class T>
  static T apply(T a, T b) {
    return a - b;
  }
};
struct Multiply {
  template <class T>
  static T apply(T a, T b) {
    return a * b;
  }
};
struct Divide {
  template <class T>
  static T apply(T a, T b) {
    return a / b;
  }
};
struct MultiplyAdd {
  template <class T>
  static T apply(T a, T b, T c) {
    return std::fma(a, b, c);
  }
};
struct SquareRoot {
  template <class T>
  static T apply(T a) {
    return std::sqrt(a);
  }
};
struct Reciprocal {
  template <class T>
  static T apply(T a) {
    return T{1} / a;
  }
};
struct ReciprocalRoot {
  template <class T>
  static T apply(T a) {
    return static_cast<T>(1.0 / std::sqrt(static_cast<double>(a)));
  }
};
struct Exponential2 {
  template <class T>
  static T apply(T a) {
    return static_cast<T>(std::exp2(a));
  }
};
struct Logarithm2 {
  template <class T>
  static T apply(T a) {
    return std::log2(a);
  }
};
struct Sine {
  template <class T>
  static T apply(T a) {
    return std::sin(a);
  }
};
struct Cosine {
  template <class T>
  static T apply(T a) {
    return std::cos(a);
  }
};
struct HyperbolicTangent {
  template <class T>
  static T apply(T a) {
    return std::tanh(a);
  }
};
struct Absolute {
  template <class T>
  static T apply(T a) {
    return std::fabs(a);
  }
};
struct Negate {
  template <class T>
  static T apply(T a) {
    return -a;
  }
};
// copysign d, a, b: the magnitude of b with the sign of a.
struct CopySign {
  template <class T>
  static T apply(T a, T b) {
    return std::copysign(b, a);
  }
};

template <class T>
T canonical_nan() {
  if constexpr (sizeof(T) == 4) {
    return std::bit_cast<float>(0x7fffffffu);
  } else {
    return std::bit_cast<double>(0x7fffffffffffffffull);
  }
}
// A NaN loses against a number (wins with .NaN); -0 is less than +0.
template <bool Larger, bool KeepsNan>
struct Extreme {
  template <class T>
  static T apply(T a, T b) {
    if (std::isnan(a) || std::isnan(b)) {
      const bool none = KeepsNan || (std::isnan(a) && std::isnan(b));
      return none ? canonical_nan<T>() : std::isnan(a) ? b : a;
    }
    if (a == b) {
      return std::signbit(a) == Larger ? b : a;
    }
    return (a < b) == Larger ? b : a;
  }
};

template <class T, class Operation, class... Operands>
T modified(std::int64_t modifier, Operands... operands) {
  const auto compute = [](auto... values) -> T { return Operation::apply(values...); };
  return finished(rounded<T>(modifier, compute, flushed(operands, modifier)...), modifier);
}

template <class T, class Operation>
const Instruction* modified_unary(Frame& f, const Instruction* i) {
  set<T>(f, i->d, modified<T, Operation>(i->immediate, get<T>(f, i->a)));
  return i + 1;
}
template <class T, class Operation>
const Instruction* modified_binary(Frame& f, const Instruction* i) {
  set<T>(f, i->d, modified<T, Operation>(i->immediate, get<T>(f, i->a), get<T>(f, i->b)));
  return i + 1;
}
template <class T, class Operation>
const Instruction* modified_ternary(Frame& f, const Instruction* i) {
  set<T>(f, i->d, modified<T, Operation>(i->immediate, get<T>(f, i->a), get<T>(f, i->b), get<T>(f, i->c)));
  return i + 1;
}

template <class Operation>
Instruction make_unary(Assembler& a, const Statement& s) {
  const bool plain = modifiers(s) == 0;
  Instruction made = with_operands(a, s, pick_float(s.type(), [&]<class T>() -> Handler {
                                     return plain ? &unary<T, Operation> : &modified_unary<T, Operation>;
                                   }));
  made.immediate = modifiers(s);
  return made;
}
template <class Operation>
Instruction make_binary(Assembler& a, const Statement& s) {
  const bool plain = modifiers(s) == 0;
  Instruction made = with_operands(a, s, pick_float(s.type(), [&]<class T>() -> Handler {
                                     return plain ? &binary<T, Operation> : &modified_binary<T, Operation>;
                                   }));
  made.immediate = modifiers(s);
  return made;
}
template <class Operation>
Instruction make_ternary(Assembler& a, const Statement& s) {
  const bool plain = modifiers(s) == 0;
  Instruction made = with_operands(a, s, pick_float(s.type(), [&]<class T>() -> Handler {
                                     return plain ? &ternary<T, Operation> : &modified_ternary<T, Operation>;
                                   }));
  made.immediate = modifiers(s);
  return made;
}
template <bool Larger>
Instruction make_extreme(Assembler& a, const Statement& s) {
  return s.has("NaN") ? make_binary<Extreme<Larger, true>>(a, s) : make_binary<Extreme<Larger, false>>(a, s);
}

constexpr NamedOpcode kShared[] = {
    {"add", make_binary<Add>},          {"sub", make_binary<Subtract>}, {"mul", make_binary<Multiply>},
    {"mad", make_ternary<MultiplyAdd>}, {"div", make_binary<Divide>},   {"min", make_extreme<false>},
    {"max", make_extreme<true>},        {"abs", make_unary<Absolute>},  {"neg", make_unary<Negate>}};

constexpr NamedOpcode kOpcodes[] = {{"fma", make_ternary<MultiplyAdd>},
                                    {"sqrt", make_unary<SquareRoot>},
                                    {"rcp", make_unary<Reciprocal>},
                                    {"rsqrt", make_unary<ReciprocalRoot>},
                                    {"ex2", make_unary<Exponential2>},
                                    {"lg2", make_unary<Logarithm2>},
                                    {"sin", make_unary<Sine>},
                                    {"cos", make_unary<Cosine>},
                                    {"tanh", make_unary<HyperbolicTangent>},
                                    {"copysign", make_binary<CopySign>}};

}  // namespace

Instruction make_float_arithmetic(Assembler& assembler, const Statement& statement) {
  for (const NamedOpcode& opcode : kShared) {
    if (opcode.base == statement.base) {
      return opcode.make(assembler, statement);
    }
  }
  return {};
}

std::span<const NamedOpcode> float_opcodes() {
  return kOpcodes;
}

}  // namespace pagelab::emu::ptx
