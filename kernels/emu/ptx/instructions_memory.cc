// Loads, stores, atomics and cp.async (PTX ISA, "Data Movement and Conversion Instructions", "Parallel
// Synchronization and Communication Instructions: atom, red"). Every access of global, generic and shared
// memory is aligned, shared ones are within the block's memory, and the observer hears of them; parameters,
// .const variables and local memory are the thread's own affair. Cache operators and memory orders change
// nothing here.
#include <algorithm>
#include <optional>

#include "kernels/emu/ptx/module.h"
#include "kernels/emu/ptx/opcodes.h"

namespace pagelab::emu::ptx {
namespace {

enum class Space : std::uint8_t { global, shared, own };

std::uintptr_t pc_of(const Instruction* i) {
  return reinterpret_cast<std::uintptr_t>(i);
}

[[noreturn]] void fail_misaligned(const Frame& f, const Instruction* i, std::size_t bytes) {
  fail(f, i, KernelError::Kind::illegal_address,
       "accesses " + std::to_string(bytes) + " bytes at an address that is not a multiple of that");
}
[[noreturn]] void fail_outside(const Frame& f, const Instruction* i, std::size_t bytes,
                               std::uint32_t offset) {
  fail(f, i, KernelError::Kind::illegal_address,
       "accesses " + std::to_string(bytes) + " bytes of shared memory at offset " + std::to_string(offset) +
           ", of " + std::to_string(f.shared_bytes));
}

void tell(Frame& f, const Instruction* i, Access kind, const void* address, std::size_t bytes) {
  if (!f.program->module->owns(address)) {
    f.observer->access(kind, address, bytes, pc_of(i), f.site(i));
  }
}

// Where the bytes lie in the host's memory; reports the access unless `kind` is none.
template <Space kSpace>
std::byte* place(Frame& f, const Instruction* i, std::size_t bytes, std::optional<Access> kind) {
  const std::uint64_t address = f.slots[i->a] + static_cast<std::uint64_t>(i->immediate);
  std::byte* at = nullptr;
  if constexpr (kSpace == Space::shared) {
    const auto offset = static_cast<std::uint32_t>(address);
    if (offset + bytes > f.shared_bytes) [[unlikely]] {
      fail_outside(f, i, bytes, offset);
    }
    at = f.shared + offset;
  } else {
    at =
        reinterpret_cast<std::byte*>(address);  // NOLINT(performance-no-int-to-ptr): PTX computes in integers
  }
  if (reinterpret_cast<std::uintptr_t>(at) % bytes != 0) [[unlikely]] {
    fail_misaligned(f, i, bytes);
  }
  if (kSpace != Space::own && f.observer != nullptr && kind) [[unlikely]] {
    tell(f, i, *kind, at, bytes);
  }
  return at;
}

template <class T, int kCount, Space kSpace>
const Instruction* load(Frame& f, const Instruction* i) {
  const std::byte* from = place<kSpace>(f, i, sizeof(T) * kCount, Access::read);
  T values[kCount];
  std::memcpy(values, from, sizeof values);
  if constexpr (kCount == 1) {
    set<T>(f, i->d, values[0]);
  } else {
    for (int n = 0; n < kCount; ++n) {
      set<T>(f, i->list[n], values[n]);
    }
  }
  return i + 1;
}

template <class T, int kCount, Space kSpace>
const Instruction* store(Frame& f, const Instruction* i) {
  std::byte* to = place<kSpace>(f, i, sizeof(T) * kCount, Access::write);
  T values[kCount];
  if constexpr (kCount == 1) {
    values[0] = get<T>(f, i->b);
  } else {
    for (int n = 0; n < kCount; ++n) {
      values[n] = get<T>(f, i->list[n]);
    }
  }
  std::memcpy(to, values, sizeof values);
  return i + 1;
}

Space space_of(const Statement& s) {
  const auto named = [&](std::string_view name) {
    return std::ranges::any_of(
        s.parts, [&](std::string_view part) { return part.substr(0, part.find("::")) == name; });
  };
  return named("shared")                                      ? Space::shared
         : named("local") || named("param") || named("const") ? Space::own
                                                              : Space::global;
}

template <class T, int kCount, bool kLoad>
Handler for_space(Space space) {
  const auto handler = []<Space kSpace>() -> Handler {
    return kLoad ? &load<T, kCount, kSpace> : &store<T, kCount, kSpace>;
  };
  switch (space) {
    case Space::shared:
      return handler.template operator()<Space::shared>();
    case Space::own:
      return handler.template operator()<Space::own>();
    default:
      return handler.template operator()<Space::global>();
  }
}

// A load extends by the sign of its type; for stores and floats the width is all that matters.
template <bool kLoad>
Handler access_handler(const Statement& s) {
  const Space space = space_of(s);
  const int count = s.has("v2") ? 2 : s.has("v4") ? 4 : 1;
  const auto by_count = [&]<class T>() -> Handler {
    if constexpr (sizeof(T) < 8) {
      if (count == 4) {
        return for_space<T, 4, kLoad>(space);
      }
    }
    return count == 1 ? for_space<T, 1, kLoad>(space) : count == 2 ? for_space<T, 2, kLoad>(space) : nullptr;
  };
  const Handler is_signed = pick<std::int8_t, std::int16_t, std::int32_t>(s.type(), by_count);
  return is_signed != nullptr ? is_signed : pick_width(bytes_of(s.type()), by_count);
}

Instruction make_load(Assembler& a, const Statement& s) {
  Instruction made;
  made.execute = access_handler<true>(s);
  if (s.operands[0].kind == Operand::Kind::list) {
    made.list = a.destinations(s.operands[0]);
  } else {
    made.d = a.destination(s.operands[0]);
  }
  a.address(s.operands[1], made);
  return made;
}

Instruction make_store(Assembler& a, const Statement& s) {
  Instruction made;
  made.execute = access_handler<false>(s);
  a.address(s.operands[0], made);
  if (s.operands[1].kind == Operand::Kind::list) {
    made.list = a.sources(s.operands[1]);
  } else {
    made.b = a.source(s.operands[1]);
  }
  return made;
}

// --- atom and red: d = [a]; [a] = op([a], b, c). `red` writes d to the sink.

struct AtomicAdd {
  template <class T>
  static T apply(T before, T b, T) {
    if constexpr (std::is_integral_v<T>) {
      return static_cast<T>(static_cast<std::uint64_t>(before) + static_cast<std::uint64_t>(b));
    } else {
      return before + b;
    }
  }
};
struct AtomicMinimum {
  template <class T>
  static T apply(T before, T b, T) {
    return std::min(before, b);
  }
};
struct AtomicMaximum {
  template <class T>
  static T apply(T before, T b, T) {
    return std::max(before, b);
  }
};
struct AtomicAnd {
  template <class T>
  static T apply(T before, T b, T) {
    return before & b;
  }
};
struct AtomicOr {
  template <class T>
  static T apply(T before, T b, T) {
    return before | b;
  }
};
struct AtomicXor {
  template <class T>
  static T apply(T before, T b, T) {
    return before ^ b;
  }
};
struct AtomicExchange {
  template <class T>
  static T apply(T, T b, T) {
    return b;
  }
};
struct AtomicCompareAndSwap {
  template <class T>
  static T apply(T before, T compare, T value) {
    return before == compare ? value : before;
  }
};
// inc and dec wrap at b.
struct AtomicIncrement {
  template <class T>
  static T apply(T before, T b, T) {
    return before >= b ? T{0} : static_cast<T>(before + 1);
  }
};
struct AtomicDecrement {
  template <class T>
  static T apply(T before, T b, T) {
    return before == 0 || before > b ? b : static_cast<T>(before - 1);
  }
};

template <class T, class Operation, Space kSpace>
const Instruction* atomic(Frame& f, const Instruction* i) {
  atomic_operation(f.site(i));
  std::byte* at = place<kSpace>(f, i, sizeof(T), Access::atomic);
  T before;
  std::memcpy(&before, at, sizeof before);
  const T after = Operation::apply(before, get<T>(f, i->b), get<T>(f, i->c));
  std::memcpy(at, &after, sizeof after);
  set<T>(f, i->d, before);
  return i + 1;
}

template <class Operation, class... Types>
Handler atomic_handler(Type type, Space space) {
  return pick<Types...>(type, [&]<class T>() -> Handler {
    return space == Space::shared ? &atomic<T, Operation, Space::shared>
                                  : &atomic<T, Operation, Space::global>;
  });
}

Handler atomic_handler(const Statement& s) {
  using std::int32_t, std::int64_t, std::uint32_t, std::uint64_t;
  const Type type = s.type();
  const Space space = space_of(s);
  const auto words = [&]<class Operation>() {
    return atomic_handler<Operation, uint32_t, uint64_t>(type, space);
  };
  const auto integers = [&]<class Operation>() {
    return atomic_handler<Operation, uint32_t, uint64_t, int32_t, int64_t>(type, space);
  };
  if (s.has("add")) {
    return atomic_handler<AtomicAdd, uint32_t, uint64_t, int32_t, int64_t, float, double>(type, space);
  }
  return s.has("min")    ? integers.template operator()<AtomicMinimum>()
         : s.has("max")  ? integers.template operator()<AtomicMaximum>()
         : s.has("and")  ? words.template operator()<AtomicAnd>()
         : s.has("or")   ? words.template operator()<AtomicOr>()
         : s.has("xor")  ? words.template operator()<AtomicXor>()
         : s.has("exch") ? words.template operator()<AtomicExchange>()
         : s.has("cas")  ? words.template operator()<AtomicCompareAndSwap>()
         : s.has("inc")  ? words.template operator()<AtomicIncrement>()
         : s.has("dec")  ? words.template operator()<AtomicDecrement>()
                         : nullptr;
}

Instruction make_atomic(Assembler& a, const Statement& s) {
  const std::size_t first = s.base == "atom" ? 1 : 0;
  const std::size_t operands = s.operands.size() - first;
  if (operands < 2 || operands > 3 || s.has("noftz")) {
    return {};
  }
  Operand nowhere;
  nowhere.name = "_";
  Instruction made;
  made.execute = atomic_handler(s);
  made.d = a.destination(first == 1 ? s.operands[0] : nowhere);
  a.address(s.operands[first], made);
  made.b = a.source(s.operands[first + 1]);
  made.c = operands == 3 ? a.source(s.operands[first + 2]) : made.b;
  return made;
}

// --- cp.async [a], [list[0] + list[1]], d bytes, of which slot c are read.

const Instruction* copy_async(Frame& f, const Instruction* i) {
  std::byte* target = place<Space::shared>(f, i, i->d, std::nullopt);
  const std::uint64_t address = f.slots[i->list[0]] + f.slots[i->list[1]];
  const auto* source = reinterpret_cast<const std::byte*>(address);  // NOLINT(performance-no-int-to-ptr)
  async_copy(target, source, i->d, get<std::uint32_t>(f, i->c), pc_of(i), f.site(i));
  return i + 1;
}
const Instruction* commit_group(Frame&, const Instruction* i) {
  async_commit();
  return i + 1;
}
const Instruction* wait_group(Frame&, const Instruction* i) {
  async_wait(static_cast<unsigned>(i->immediate));
  return i + 1;
}
const Instruction* wait_all(Frame&, const Instruction* i) {
  async_commit();
  async_wait(0);
  return i + 1;
}

Instruction make_cp(Assembler& a, const Statement& s) {
  Instruction made;
  if (s.parts.empty() || s.parts[0] != "async") {
    return made;
  }
  if (s.has("commit_group")) {
    made.execute = &commit_group;
  } else if (s.has("wait_group")) {
    made.execute = &wait_group;
    made.immediate = s.operands[0].value;
  } else if (s.has("wait_all")) {
    made.execute = &wait_all;
  } else if ((s.has("cg") || s.has("ca")) && s.operands.size() >= 3 &&
             s.operands[2].kind == Operand::Kind::number) {
    made.execute = &copy_async;
    made.d = static_cast<std::uint32_t>(s.operands[2].value);
    made.c = a.source(s.operands.size() > 3 ? s.operands[3] : s.operands[2]);
    Instruction from;
    a.address(s.operands[1], from);
    made.list = a.list({from.a, a.constant(static_cast<std::uint64_t>(from.immediate))});
    a.address(s.operands[0], made);
  }
  return made;
}

constexpr NamedOpcode kOpcodes[] = {{"ld", make_load},     {"ldu", make_load},   {"st", make_store},
                                    {"atom", make_atomic}, {"red", make_atomic}, {"cp", make_cp}};

}  // namespace

std::span<const NamedOpcode> memory_opcodes() {
  return kOpcodes;
}

}  // namespace pagelab::emu::ptx
