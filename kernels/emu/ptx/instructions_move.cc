// Moves, comparisons, selections and conversions (PTX ISA, "Data Movement and Conversion Instructions: mov,
// cvt, cvta, isspacep", "Comparison and Selection Instructions").
#include <cmath>

#include "kernels/emu/ptx/opcodes.h"

namespace pagelab::emu::ptx {
namespace {

const Instruction* copy(Frame& f, const Instruction* i) {
  f.slots[i->d] = f.slots[i->a];
  return i + 1;
}

// c: bits of an element, immediate: how many there are.
const Instruction* pack(Frame& f, const Instruction* i) {
  const std::uint64_t mask = (std::uint64_t{1} << i->c) - 1;
  std::uint64_t bits = 0;
  for (std::int64_t n = 0; n < i->immediate; ++n) {
    bits |= (f.slots[i->list[n]] & mask) << (n * i->c);
  }
  f.slots[i->d] = bits;
  return i + 1;
}
const Instruction* unpack(Frame& f, const Instruction* i) {
  const std::uint64_t mask = (std::uint64_t{1} << i->c) - 1;
  const std::uint64_t bits = f.slots[i->a];
  for (std::int64_t n = 0; n < i->immediate; ++n) {
    f.slots[i->list[n]] = bits >> (n * i->c) & mask;
  }
  return i + 1;
}

Instruction make_move(Assembler& a, const Statement& s) {
  const Operand& to = s.operands[0];
  const Operand& from = s.operands[1];
  const bool unpacks = to.kind == Operand::Kind::list;
  if (!unpacks && from.kind != Operand::Kind::list) {
    return with_operands(a, s, &copy);
  }
  const std::size_t count = (unpacks ? to : from).elements.size();
  if (count < 2 || bytes_of(s.type()) < count) {
    return {};
  }
  Instruction made;
  made.execute = unpacks ? &unpack : &pack;
  made.c = static_cast<std::uint32_t>(bytes_of(s.type()) * 8 / count);
  made.immediate = static_cast<std::int64_t>(count);
  if (unpacks) {
    made.a = a.source(from);
    made.list = a.destinations(to);
  } else {
    made.d = a.destination(to);
    made.list = a.sources(from);
  }
  return made;
}

const Instruction* select(Frame& f, const Instruction* i) {
  f.slots[i->d] = f.slots[get<std::uint8_t>(f, i->c) != 0 ? i->a : i->b];
  return i + 1;
}
Instruction make_select(Assembler& a, const Statement& s) {
  return with_operands(a, s, &select);
}

// --- setp. A comparison of T, by the letters of PTX; those ending in u are true for NaN.

enum class Compare { eq, ne, lt, le, gt, ge, equ, neu, ltu, leu, gtu, geu, num, nan };

template <class T, Compare How>
bool compare(T a, T b) {
  using enum Compare;
  bool unordered = false;
  if constexpr (std::is_floating_point_v<T>) {
    unordered = std::isnan(a) || std::isnan(b);
  }
  switch (How) {
    case eq:
      return a == b;
    case ne:
      return a != b && !unordered;
    case lt:
      return a < b;
    case le:
      return a <= b;
    case gt:
      return a > b;
    case ge:
      return a >= b;
    case equ:
      return a == b || unordered;
    case neu:
      return a != b;
    case ltu:
      return !(a >= b);
    case leu:
      return !(a > b);
    case gtu:
      return !(a <= b);
    case geu:
      return !(a < b);
    case num:
      return !unordered;
    case nan:
      return unordered;
  }
}

template <class T, Compare How>
const Instruction* set_predicate(Frame& f, const Instruction* i) {
  set<std::uint8_t>(f, i->d, compare<T, How>(get<T>(f, i->a), get<T>(f, i->b)));
  return i + 1;
}

// p = compare op c, list[0]: q = !compare op c; immediate: 0 c is taken as true, 1 and, 2 or, 3 xor.
template <class T, Compare How>
const Instruction* set_predicates(Frame& f, const Instruction* i) {
  const bool holds = compare<T, How>(get<T>(f, i->a), get<T>(f, i->b));
  const bool c = i->immediate == 0 || get<std::uint8_t>(f, i->c) != 0;
  const auto combined = [&](bool value) {
    return i->immediate == 2 ? value || c : i->immediate == 3 ? value != c : value && c;
  };
  set<std::uint8_t>(f, i->d, combined(holds));
  set<std::uint8_t>(f, i->list[0], combined(!holds));
  return i + 1;
}

template <Compare How>
Handler predicate_handler(Type type, bool simple) {
  return pick<std::uint16_t, std::uint32_t, std::uint64_t, std::int16_t, std::int32_t, std::int64_t, float,
              double>(
      type, [&]<class T>() -> Handler { return simple ? &set_predicate<T, How> : &set_predicates<T, How>; });
}

Handler predicate_handler(std::string_view how, Type type, bool simple) {
  using enum Compare;
  struct Entry {
    std::string_view name;
    Handler (*make)(Type, bool);
  };
  static constexpr Entry kEntries[] = {
      {"eq", predicate_handler<eq>},   {"ne", predicate_handler<ne>},   {"lt", predicate_handler<lt>},
      {"le", predicate_handler<le>},   {"gt", predicate_handler<gt>},   {"ge", predicate_handler<ge>},
      {"lo", predicate_handler<lt>},   {"ls", predicate_handler<le>},   {"hi", predicate_handler<gt>},
      {"hs", predicate_handler<ge>},   {"equ", predicate_handler<equ>}, {"neu", predicate_handler<neu>},
      {"ltu", predicate_handler<ltu>}, {"leu", predicate_handler<leu>}, {"gtu", predicate_handler<gtu>},
      {"geu", predicate_handler<geu>}, {"num", predicate_handler<num>}, {"nan", predicate_handler<nan>}};
  for (const Entry& entry : kEntries) {
    if (entry.name == how) {
      return entry.make(type, simple);
    }
  }
  return nullptr;
}

Instruction make_set_predicate(Assembler& a, const Statement& s) {
  const std::int64_t combine = s.has("and") ? 1 : s.has("or") ? 2 : s.has("xor") ? 3 : 0;
  const std::string_view second = s.operands[0].second;
  const bool simple = combine == 0 && second.empty();
  if (s.has("ftz")) {
    return {};
  }
  Instruction made = with_operands(a, s, predicate_handler(s.parts.front(), s.type(), simple));
  Operand q;
  q.name = second.empty() ? "_" : second;
  made.list = simple ? nullptr : a.destinations(q);
  made.immediate = combine;
  return made;
}

// --- Addresses. A generic address is the host's; so are those of global and local memory. A shared address
// is an offset into the block's shared memory.

const Instruction* shared_to_generic(Frame& f, const Instruction* i) {
  f.slots[i->d] = reinterpret_cast<std::uintptr_t>(f.shared) + get<std::uint32_t>(f, i->a);
  return i + 1;
}
const Instruction* generic_to_shared(Frame& f, const Instruction* i) {
  f.slots[i->d] = f.slots[i->a] - reinterpret_cast<std::uintptr_t>(f.shared);
  return i + 1;
}
Instruction make_convert_address(Assembler& a, const Statement& s) {
  if (!s.has("shared")) {
    return with_operands(a, s, &copy);
  }
  return with_operands(a, s, s.has("to") ? &generic_to_shared : &shared_to_generic);
}

bool is_shared(const Frame& f, std::uint64_t address) {
  return address - reinterpret_cast<std::uintptr_t>(f.shared) < f.shared_bytes;
}
bool is_local(const Frame& f, std::uint64_t address) {
  return address - reinterpret_cast<std::uintptr_t>(f.local) < f.program->local_bytes;
}
const Instruction* is_in_shared(Frame& f, const Instruction* i) {
  set<std::uint8_t>(f, i->d, is_shared(f, f.slots[i->a]));
  return i + 1;
}
const Instruction* is_in_local(Frame& f, const Instruction* i) {
  set<std::uint8_t>(f, i->d, is_local(f, f.slots[i->a]));
  return i + 1;
}
const Instruction* is_in_global(Frame& f, const Instruction* i) {
  set<std::uint8_t>(f, i->d, !is_shared(f, f.slots[i->a]) && !is_local(f, f.slots[i->a]));
  return i + 1;
}
Instruction make_is_in_space(Assembler& a, const Statement& s) {
  return with_operands(a, s,
                       s.has("shared")   ? &is_in_shared
                       : s.has("local")  ? &is_in_local
                       : s.has("global") ? &is_in_global
                                         : nullptr);
}

constexpr NamedOpcode kOpcodes[] = {{"mov", make_move},
                                    {"selp", make_select},
                                    {"setp", make_set_predicate},
                                    {"cvta", make_convert_address},
                                    {"isspacep", make_is_in_space}};

}  // namespace

std::span<const NamedOpcode> move_opcodes() {
  return kOpcodes;
}

}  // namespace pagelab::emu::ptx
