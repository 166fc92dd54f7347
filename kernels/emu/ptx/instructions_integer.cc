// Integer arithmetic and what shares its opcodes with floating point (PTX ISA, "Integer Arithmetic
// Instructions", "Extended-Precision Integer Arithmetic Instructions").
#include <algorithm>
#include <bit>
#include <limits>

#include "kernels/emu/ptx/opcodes.h"

namespace pagelab::emu::ptx {
namespace {

__extension__ using Int128 = __int128;
__extension__ using UInt128 = unsigned __int128;

template <class T>
using Wide = std::conditional_t<std::is_signed_v<T>, Int128, UInt128>;
template <class T>
constexpr unsigned kBits = sizeof(T) * 8;

// Wraps: computed without sign.
template <class T>
T wrapped(std::uint64_t bits) {
  return static_cast<T>(bits);
}

struct Add {
  template <class T>
  static T apply(T a, T b) {
    return wrapped<T>(static_cast<std::uint64_t>(a) + static_cast<std::uint64_t>(b));
  }
};
struct Subtract {
  template <class T>
  static T apply(T a, T b) {
    return wrapped<T>(static_cast<std::uint64_t>(a) - static_cast<std::uint64_t>(b));
  }
};
struct MultiplyLow {
  template <class T>
  static T apply(T a, T b) {
    return wrapped<T>(static_cast<std::uint64_t>(a) * static_cast<std::uint64_t>(b));
  }
};
struct MultiplyHigh {
  template <class T>
  static T apply(T a, T b) {
    return static_cast<T>((Wide<T>{a} * Wide<T>{b}) >> kBits<T>);
  }
};
// Division by zero gives all ones, and the dividend as its remainder, as the hardware does.
struct Divide {
  template <class T>
  static T apply(T a, T b) {
    if (b == 0) {
      return static_cast<T>(~T{0});
    }
    return static_cast<T>(Wide<T>{a} / Wide<T>{b});
  }
};
struct Remainder {
  template <class T>
  static T apply(T a, T b) {
    return b == 0 ? a : static_cast<T>(Wide<T>{a} % Wide<T>{b});
  }
};
struct Minimum {
  template <class T>
  static T apply(T a, T b) {
    return std::min(a, b);
  }
};
struct Maximum {
  template <class T>
  static T apply(T a, T b) {
    return std::max(a, b);
  }
};
struct Absolute {
  template <class T>
  static T apply(T a) {
    return a < 0 ? Subtract::apply(T{0}, a) : a;
  }
};
struct Negate {
  template <class T>
  static T apply(T a) {
    return Subtract::apply(T{0}, a);
  }
};

template <class T, class Product>
const Instruction* multiply_add(Frame& f, const Instruction* i) {
  set<T>(f, i->d, Add::apply(Product::apply(get<T>(f, i->a), get<T>(f, i->b)), get<T>(f, i->c)));
  return i + 1;
}

// The product of two T as the type of twice the width; plus c with `Accumulate`.
template <class T, bool Accumulate>
const Instruction* multiply_wide(Frame& f, const Instruction* i) {
  using Double =
      std::conditional_t<sizeof(T) == 2, std::conditional_t<std::is_signed_v<T>, std::int32_t, std::uint32_t>,
                         std::conditional_t<std::is_signed_v<T>, std::int64_t, std::uint64_t>>;
  std::uint64_t product =
      static_cast<std::uint64_t>(get<T>(f, i->a)) * static_cast<std::uint64_t>(get<T>(f, i->b));
  if constexpr (Accumulate) {
    product += static_cast<std::uint64_t>(get<Double>(f, i->c));
  }
  set<Double>(f, i->d, static_cast<Double>(product));
  return i + 1;
}

// The condition code: `immediate` bit 0 reads it, bit 1 writes it. A difference is a + ~b + 1; the code then
// holds the borrow.
template <class T>
T add_with_carry(Frame& f, const Instruction* i, T a, T b, bool subtract) {
  const bool reads = (i->immediate & 1) != 0;
  const std::uint32_t in = subtract ? (reads ? 1 - f.carry : 1) : (reads ? f.carry : 0);
  const UInt128 sum = UInt128{a} + UInt128{subtract ? static_cast<T>(~b) : b} + in;
  if ((i->immediate & 2) != 0) {
    const auto out = static_cast<std::uint32_t>(sum >> kBits<T>);
    f.carry = subtract ? 1 - out : out;
  }
  return static_cast<T>(sum);
}
template <class T, bool Subtract>
const Instruction* sum_with_carry(Frame& f, const Instruction* i) {
  set<T>(f, i->d, add_with_carry<T>(f, i, get<T>(f, i->a), get<T>(f, i->b), Subtract));
  return i + 1;
}
template <class T, class Product>
const Instruction* product_with_carry(Frame& f, const Instruction* i) {
  const T product = Product::apply(get<T>(f, i->a), get<T>(f, i->b));
  set<T>(f, i->d, add_with_carry<T>(f, i, product, get<T>(f, i->c), false));
  return i + 1;
}

Type unsigned_type(Type type) {
  return bytes_of(type) == 4 ? Type::u32 : bytes_of(type) == 8 ? Type::u64 : Type::none;
}

std::int64_t carry_bits(const Statement& s) {
  return (s.base.ends_with('c') ? 1 : 0) | (s.has("cc") ? 2 : 0);
}

template <bool Subtract>
Instruction make_carry_sum(Assembler& a, const Statement& s) {
  Instruction made = with_operands(
      a, s, pick<std::uint32_t, std::uint64_t>(unsigned_type(s.type()), []<class T>() -> Handler {
        return &sum_with_carry<T, Subtract>;
      }));
  made.immediate = carry_bits(s);
  return made;
}

// A signed high product differs from an unsigned one and none of nvcc's output has it.
Instruction make_carry_product(Assembler& a, const Statement& s) {
  if (s.has("hi") && (s.type() == Type::s32 || s.type() == Type::s64)) {
    return {};
  }
  const bool high = s.has("hi");
  Instruction made = with_operands(
      a, s, pick<std::uint32_t, std::uint64_t>(unsigned_type(s.type()), [&]<class T>() -> Handler {
        return high ? &product_with_carry<T, MultiplyHigh> : &product_with_carry<T, MultiplyLow>;
      }));
  made.immediate = carry_bits(s);
  return made;
}

template <class Operation>
Instruction make_binary(Assembler& a, const Statement& s) {
  if (is_float(s.type())) {
    return make_float_arithmetic(a, s);
  }
  return with_operands(a, s, s.has("sat") ? nullptr : pick_integer(s.type(), []<class T>() -> Handler {
                         return &binary<T, Operation>;
                       }));
}

template <class Operation>
Instruction make_unary(Assembler& a, const Statement& s) {
  if (is_float(s.type())) {
    return make_float_arithmetic(a, s);
  }
  return with_operands(a, s,
                       pick<std::int16_t, std::int32_t, std::int64_t>(
                           s.type(), []<class T>() -> Handler { return &unary<T, Operation>; }));
}

template <bool Subtract, class Operation>
Instruction make_sum(Assembler& a, const Statement& s) {
  return s.has("cc") ? make_carry_sum<Subtract>(a, s) : make_binary<Operation>(a, s);
}

template <bool Accumulate>
Handler wide_handler(Type type) {
  return pick<std::uint16_t, std::uint32_t, std::int16_t, std::int32_t>(
      type, []<class T>() -> Handler { return &multiply_wide<T, Accumulate>; });
}

Instruction make_multiply(Assembler& a, const Statement& s) {
  if (s.has("wide")) {
    return with_operands(a, s, wide_handler<false>(s.type()));
  }
  return s.has("hi") ? make_binary<MultiplyHigh>(a, s) : make_binary<MultiplyLow>(a, s);
}

Instruction make_multiply_add(Assembler& a, const Statement& s) {
  if (is_float(s.type())) {
    return make_float_arithmetic(a, s);
  }
  if (s.has("cc") || s.base == "madc") {
    return make_carry_product(a, s);
  }
  if (s.has("wide")) {
    return with_operands(a, s, wide_handler<true>(s.type()));
  }
  const bool high = s.has("hi");
  return with_operands(a, s, s.has("sat") ? nullptr : pick_integer(s.type(), [&]<class T>() -> Handler {
                         return high ? &multiply_add<T, MultiplyHigh> : &multiply_add<T, MultiplyLow>;
                       }));
}

constexpr NamedOpcode kOpcodes[] = {
    {"add", make_sum<false, Add>},  {"addc", make_carry_sum<false>}, {"sub", make_sum<true, Subtract>},
    {"subc", make_carry_sum<true>}, {"mul", make_multiply},          {"mad", make_multiply_add},
    {"madc", make_multiply_add},    {"div", make_binary<Divide>},    {"rem", make_binary<Remainder>},
    {"min", make_binary<Minimum>},  {"max", make_binary<Maximum>},   {"abs", make_unary<Absolute>},
    {"neg", make_unary<Negate>}};

}  // namespace

std::span<const NamedOpcode> integer_opcodes() {
  return kOpcodes;
}

}  // namespace pagelab::emu::ptx
