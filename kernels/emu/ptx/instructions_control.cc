// Control flow, barriers and fences (PTX ISA, "Control Flow Instructions", "Parallel Synchronization and
// Communication Instructions").
#include <unordered_map>

#include "kernels/emu/ptx/control.h"
#include "kernels/emu/ptx/opcodes.h"

namespace pagelab::emu::ptx {
namespace {

const Instruction* guard(Frame& f, const Instruction* i) {
  const bool holds = (get<std::uint8_t>(f, i->a) != 0) != (i->immediate != 0);
  return holds ? i[1].execute(f, i + 1) : i + 2;
}

const Instruction* leave(Frame&, const Instruction*) {
  return nullptr;
}

const Instruction* unsupported(Frame& f, const Instruction* i) {
  fail(f, i, KernelError::Kind::unsupported,
       "the machine has no instruction " + std::string(f.program->texts[f.index(i)]));
}

const Instruction* branch(Frame&, const Instruction* i) {
  return i + i->immediate;
}
const Instruction* branch_if(Frame& f, const Instruction* i) {
  return get<std::uint8_t>(f, i->a) != 0 ? i + i->immediate : i + 1;
}
const Instruction* branch_unless(Frame& f, const Instruction* i) {
  return get<std::uint8_t>(f, i->a) == 0 ? i + i->immediate : i + 1;
}
Instruction make_branch(Assembler& a, const Statement& s) {
  Instruction made;
  a.branch_to(s.operands[0].name);
  if (s.guard.empty()) {
    made.execute = &branch;
  } else {
    made.execute = s.guard_negated ? &branch_unless : &branch_if;
    made.a = a.register_named(s.guard);
  }
  return made;
}

const Instruction* branch_indexed(Frame& f, const Instruction* i) {
  const auto index = get<std::uint32_t>(f, i->a);
  if (index >= i->c) {
    fail(f, i, KernelError::Kind::unsupported, "branches beyond its table of targets");
  }
  return i + static_cast<std::int32_t>(i->list[index]);
}
Instruction make_branch_indexed(Assembler& a, const Statement& s) {
  Instruction made;
  made.execute = &branch_indexed;
  made.a = a.source(s.operands[0]);
  a.branch_table(s.operands[1].name);
  return made;
}

void copy_bytes(std::byte* to, std::byte* from, const std::vector<CallCopy>& copies, bool to_callee) {
  for (const CallCopy& copy : copies) {
    std::memcpy(to + (to_callee ? copy.callee : copy.caller), from + (to_callee ? copy.caller : copy.callee),
                copy.bytes);
  }
}

// The callee's slots and local memory lie behind the caller's.
const Instruction* call(Frame& f, const Instruction* i) {
  const Program::Call& called = f.program->calls[static_cast<std::size_t>(i->immediate)];
  Frame callee = f;
  callee.slots += f.program->slots;
  callee.local += f.program->local_bytes;
  callee.executed = 0;
  copy_bytes(callee.local, f.local, called.in, true);
  execute(callee, *called.callee);
  copy_bytes(f.local, callee.local, called.out, false);
  f.executed += callee.executed;
  return i + 1;
}
Instruction make_call(Assembler& a, const Statement& s) {
  std::vector<Operand> results, arguments;
  std::string_view callee;
  for (const Operand& operand : s.operands) {
    if (operand.kind == Operand::Kind::name) {
      callee = operand.name;
    } else {
      (callee.empty() ? results : arguments) = operand.elements;
    }
  }
  Instruction made;
  made.execute = &call;
  made.immediate = a.call(callee, results, arguments);
  return made;
}

Instruction make_return(Assembler&, const Statement&) {
  return return_instruction();
}

const Instruction* barrier(Frame& f, const Instruction* i) {
  block_barrier(f.site(i));
  return i + 1;
}
const Instruction* warp_barrier(Frame& f, const Instruction* i) {
  emu::warp_barrier(get<std::uint32_t>(f, i->a), f.site(i));
  return i + 1;
}
// bar.sync 0, barrier.sync 0 and bar.warp.sync; other barriers and counts of threads have no place in the
// machine.
Instruction make_barrier(Assembler& a, const Statement& s) {
  Instruction made;
  if (s.has("warp")) {
    made.execute = &warp_barrier;
    made.a = a.source(s.operands[0]);
  } else if (s.has("sync") && s.operands.size() == 1 && s.operands[0].kind == Operand::Kind::number &&
             s.operands[0].value == 0) {
    made.execute = &barrier;
  }
  return made;
}

const Instruction* nothing(Frame&, const Instruction* i) {
  return i + 1;
}
Instruction make_nothing(Assembler&, const Statement&) {
  Instruction made;
  made.execute = &nothing;
  return made;
}

constexpr NamedOpcode kOpcodes[] = {
    {"bra", make_branch},      {"brx", make_branch_indexed}, {"call", make_call},
    {"ret", make_return},      {"exit", make_return},        {"bar", make_barrier},
    {"barrier", make_barrier}, {"membar", make_nothing},     {"fence", make_nothing}};

}  // namespace

Instruction guard_instruction(std::uint32_t predicate, bool negated) {
  Instruction made;
  made.execute = &guard;
  made.a = predicate;
  made.immediate = negated;
  return made;
}

Instruction return_instruction() {
  Instruction made;
  made.execute = &leave;
  return made;
}

Instruction unsupported_instruction() {
  Instruction made;
  made.execute = &unsupported;
  return made;
}

std::span<const NamedOpcode> control_opcodes() {
  return kOpcodes;
}

Opcode find_opcode(std::string_view base) {
  static const auto table = [] {
    std::unordered_map<std::string_view, Opcode> opcodes;
    for (const auto family : {integer_opcodes(), logic_opcodes(), float_opcodes(), move_opcodes(),
                              convert_opcodes(), memory_opcodes(), control_opcodes(), warp_opcodes()}) {
      for (const NamedOpcode& opcode : family) {
        opcodes.emplace(opcode.base, opcode.make);
      }
    }
    return opcodes;
  }();
  const auto found = table.find(base);
  return found == table.end() ? nullptr : found->second;
}

}  // namespace pagelab::emu::ptx
