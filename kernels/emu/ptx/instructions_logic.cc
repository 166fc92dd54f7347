// Bits, shifts, comparisons and selections (PTX ISA, "Logic and Shift Instructions", "Comparison and
// Selection Instructions", and the bit operations among the integer instructions).
#include <algorithm>
#include <bit>
#include <cmath>

#include "kernels/emu/ptx/opcodes.h"

namespace pagelab::emu::ptx {
namespace {

template <class T>
constexpr std::uint32_t kBits = sizeof(T) * 8;

struct And {
  template <class T>
  static T apply(T a, T b) {
    return static_cast<T>(a & b);
  }
};
struct Or {
  template <class T>
  static T apply(T a, T b) {
    return static_cast<T>(a | b);
  }
};
struct Xor {
  template <class T>
  static T apply(T a, T b) {
    return static_cast<T>(a ^ b);
  }
};
struct Not {
  template <class T>
  static T apply(T a) {
    return static_cast<T>(~a);
  }
};

template <class Operation>
Instruction make_bitwise(Assembler& a, const Statement& s) {
  const std::size_t bytes = s.type() == Type::pred ? 1 : bytes_of(s.type());
  return with_operands(a, s, pick_width(bytes, []<class T>() -> Handler { return &binary<T, Operation>; }));
}

const Instruction* not_predicate(Frame& f, const Instruction* i) {
  set<std::uint8_t>(f, i->d, get<std::uint8_t>(f, i->a) == 0);
  return i + 1;
}

Instruction make_not(Assembler& a, const Statement& s) {
  return with_operands(
      a, s,
      s.type() == Type::pred ? &not_predicate : pick_width(bytes_of(s.type()), []<class T>() -> Handler {
        return &unary<T, Not>;
      }));
}

// Amounts beyond the width give zero, or the sign everywhere.
template <class T>
const Instruction* shift_left(Frame& f, const Instruction* i) {
  const auto amount = get<std::uint32_t>(f, i->b);
  set<T>(f, i->d, amount >= kBits<T> ? T{0} : static_cast<T>(get<T>(f, i->a) << amount));
  return i + 1;
}
template <class T>
const Instruction* shift_right(Frame& f, const Instruction* i) {
  const std::uint32_t amount = get<std::uint32_t>(f, i->b);
  const T a = get<T>(f, i->a);
  set<T>(f, i->d, amount < kBits<T> ? static_cast<T>(a >> amount) : static_cast<T>(a < 0 ? -1 : 0));
  return i + 1;
}

Instruction make_shift_left(Assembler& a, const Statement& s) {
  return with_operands(a, s,
                       pick_width(bytes_of(s.type()), []<class T>() -> Handler { return &shift_left<T>; }));
}
Instruction make_shift_right(Assembler& a, const Statement& s) {
  return with_operands(a, s, pick_integer(s.type(), []<class T>() -> Handler { return &shift_right<T>; }));
}

// shf: the pair {b, a} shifted; immediate bit 0 to the right, bit 1 wraps (else clamps).
const Instruction* funnel_shift(Frame& f, const Instruction* i) {
  const std::uint32_t amount = get<std::uint32_t>(f, i->c);
  const std::uint32_t n = (i->immediate & 2) != 0 ? amount & 31 : std::min(amount, 32u);
  const std::uint64_t pair = std::uint64_t{get<std::uint32_t>(f, i->b)} << 32 | get<std::uint32_t>(f, i->a);
  set<std::uint32_t>(f, i->d,
                     static_cast<std::uint32_t>((i->immediate & 1) != 0 ? pair >> n : (pair << n) >> 32));
  return i + 1;
}
Instruction make_funnel_shift(Assembler& a, const Statement& s) {
  Instruction made = with_operands(a, s, &funnel_shift);
  made.immediate = (s.has("r") ? 1 : 0) | (s.has("wrap") ? 2 : 0);
  return made;
}

// Four sources: the table is the last operand.
const Instruction* logic3(Frame& f, const Instruction* i) {
  const auto a = get<std::uint32_t>(f, i->a), b = get<std::uint32_t>(f, i->b),
             c = get<std::uint32_t>(f, i->c);
  std::uint32_t result = 0;
  for (std::uint32_t entry = 0; entry < 8; ++entry) {
    if ((i->immediate >> entry & 1) != 0) {
      result |= ((entry & 4) != 0 ? a : ~a) & ((entry & 2) != 0 ? b : ~b) & ((entry & 1) != 0 ? c : ~c);
    }
  }
  set(f, i->d, result);
  return i + 1;
}
Instruction make_logic3(Assembler& a, const Statement& s) {
  if (s.operands.size() != 5 || s.type() != Type::b32 || s.operands[4].kind != Operand::Kind::number) {
    return {};
  }
  Statement without_table = s;
  without_table.operands.pop_back();
  Instruction made = with_operands(a, without_table, &logic3);
  made.immediate = s.operands[4].value;
  return made;
}

// prmt in its general mode: four of the eight bytes of {b, a}; bit 3 of a selector repeats the byte's sign.
const Instruction* permute(Frame& f, const Instruction* i) {
  const std::uint64_t bytes = std::uint64_t{get<std::uint32_t>(f, i->b)} << 32 | get<std::uint32_t>(f, i->a);
  const std::uint32_t selector = get<std::uint32_t>(f, i->c);
  std::uint32_t result = 0;
  for (std::uint32_t n = 0; n < 4; ++n) {
    const std::uint32_t chosen = selector >> (4 * n) & 15;
    auto byte = static_cast<std::uint32_t>(bytes >> (8 * (chosen & 7)) & 0xff);
    if ((chosen & 8) != 0) {
      byte = (byte & 0x80) != 0 ? 0xff : 0;
    }
    result |= byte << (8 * n);
  }
  set(f, i->d, result);
  return i + 1;
}
Instruction make_permute(Assembler& a, const Statement& s) {
  return with_operands(a, s, s.parts.size() == 1 ? &permute : nullptr);
}

template <class T>
const Instruction* extract_bits(Frame& f, const Instruction* i) {
  using U = std::make_unsigned_t<T>;
  const T a = get<T>(f, i->a);
  const std::uint32_t position = get<std::uint32_t>(f, i->b) & 0xff;
  const std::uint32_t length = get<std::uint32_t>(f, i->c) & 0xff;
  U result = position < kBits<T> ? static_cast<U>(static_cast<U>(a) >> position) : U{0};
  if (length < kBits<T>) {
    result &= static_cast<U>((U{1} << length) - 1);
  }
  if constexpr (std::is_signed_v<T>) {
    const std::uint32_t last = std::min(position + length - 1, kBits<T> - 1);
    if (length > 0 && length < kBits<T> && (static_cast<U>(a) >> last & 1) != 0) {
      result |= static_cast<U>(~((U{1} << length) - 1));
    }
    if (length > 0 && position >= kBits<T> && a < 0) {
      result = static_cast<U>(-1);
    }
  }
  set<T>(f, i->d, static_cast<T>(result));
  return i + 1;
}
Instruction make_extract(Assembler& a, const Statement& s) {
  return with_operands(a, s,
                       pick<std::uint32_t, std::uint64_t, std::int32_t, std::int64_t>(
                           s.type(), []<class T>() -> Handler { return &extract_bits<T>; }));
}

// bfi: the low bits of a into b; position in c, length in list[0].
template <class T>
const Instruction* insert_bits(Frame& f, const Instruction* i) {
  const std::uint32_t position = get<std::uint32_t>(f, i->c) & 0xff;
  const std::uint32_t length = get<std::uint32_t>(f, i->list[0]) & 0xff;
  T result = get<T>(f, i->b);
  if (position < kBits<T> && length > 0) {
    const T ones = length >= kBits<T> ? static_cast<T>(~T{0}) : static_cast<T>((T{1} << length) - 1);
    const T mask = static_cast<T>(ones << position);
    result = static_cast<T>((result & ~mask) | (static_cast<T>(get<T>(f, i->a) << position) & mask));
  }
  set<T>(f, i->d, result);
  return i + 1;
}
Instruction make_insert(Assembler& a, const Statement& s) {
  if (s.operands.size() != 5) {
    return {};
  }
  Statement front = s;
  front.operands.pop_back();
  Instruction made = with_operands(a, front, pick_width(bytes_of(s.type()), []<class T>() -> Handler {
                                     return sizeof(T) >= 4 ? &insert_bits<T> : nullptr;
                                   }));
  made.list = a.sources(s.operands[4]);
  return made;
}

template <class T>
const Instruction* count_ones(Frame& f, const Instruction* i) {
  set<std::uint32_t>(f, i->d, static_cast<std::uint32_t>(std::popcount(get<T>(f, i->a))));
  return i + 1;
}
template <class T>
const Instruction* count_leading_zeros(Frame& f, const Instruction* i) {
  set<std::uint32_t>(f, i->d, static_cast<std::uint32_t>(std::countl_zero(get<T>(f, i->a))));
  return i + 1;
}
template <class T>
const Instruction* reverse_bits(Frame& f, const Instruction* i) {
  const T a = get<T>(f, i->a);
  T result = 0;
  for (std::uint32_t bit = 0; bit < kBits<T>; ++bit) {
    result = static_cast<T>(result << 1 | (a >> bit & 1));
  }
  set<T>(f, i->d, result);
  return i + 1;
}
Instruction make_count_ones(Assembler& a, const Statement& s) {
  return with_operands(a, s,
                       pick_width(bytes_of(s.type()), []<class T>() -> Handler { return &count_ones<T>; }));
}
Instruction make_count_leading_zeros(Assembler& a, const Statement& s) {
  return with_operands(
      a, s, pick_width(bytes_of(s.type()), []<class T>() -> Handler { return &count_leading_zeros<T>; }));
}
Instruction make_reverse(Assembler& a, const Statement& s) {
  return with_operands(a, s,
                       pick_width(bytes_of(s.type()), []<class T>() -> Handler { return &reverse_bits<T>; }));
}

// bfind: the highest bit that differs from the sign; all ones if there is none.
template <class T>
const Instruction* find_bit(Frame& f, const Instruction* i) {
  using U = std::make_unsigned_t<T>;
  const T a = get<T>(f, i->a);
  const U bits = a < 0 ? static_cast<U>(~a) : static_cast<U>(a);
  const auto zeros = static_cast<std::uint32_t>(std::countl_zero(bits));
  set<std::uint32_t>(f, i->d, bits == 0 ? ~0u : i->immediate != 0 ? zeros : kBits<T> - 1 - zeros);
  return i + 1;
}
Instruction make_find_bit(Assembler& a, const Statement& s) {
  Instruction made = with_operands(a, s,
                                   pick<std::uint32_t, std::uint64_t, std::int32_t, std::int64_t>(
                                       s.type(), []<class T>() -> Handler { return &find_bit<T>; }));
  made.immediate = s.has("shiftamt");
  return made;
}

constexpr NamedOpcode kOpcodes[] = {{"and", make_bitwise<And>},
                                    {"or", make_bitwise<Or>},
                                    {"xor", make_bitwise<Xor>},
                                    {"not", make_not},
                                    {"shl", make_shift_left},
                                    {"shr", make_shift_right},
                                    {"shf", make_funnel_shift},
                                    {"lop3", make_logic3},
                                    {"prmt", make_permute},
                                    {"bfe", make_extract},
                                    {"bfi", make_insert},
                                    {"popc", make_count_ones},
                                    {"clz", make_count_leading_zeros},
                                    {"brev", make_reverse},
                                    {"bfind", make_find_bit}};

}  // namespace

std::span<const NamedOpcode> logic_opcodes() {
  return kOpcodes;
}

}  // namespace pagelab::emu::ptx
