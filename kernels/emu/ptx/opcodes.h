// The tables of opcodes: each instructions_*.cc gives one.
#pragma once

#include <span>
#include <string_view>

#include "kernels/emu/ptx/assembler.h"

namespace pagelab::emu::ptx {

struct NamedOpcode {
  std::string_view base;
  Opcode make;
};

std::span<const NamedOpcode> integer_opcodes();
std::span<const NamedOpcode> logic_opcodes();
std::span<const NamedOpcode> float_opcodes();
std::span<const NamedOpcode> move_opcodes();
std::span<const NamedOpcode> convert_opcodes();
std::span<const NamedOpcode> memory_opcodes();
std::span<const NamedOpcode> control_opcodes();
std::span<const NamedOpcode> warp_opcodes();

/// Opcodes that integer and floating-point types share are dispatched here; null: not for this type.
Instruction make_float_arithmetic(Assembler& assembler, const Statement& statement);

/// d = op(a), op(a, b), op(a, b, c): slots of the statement's operands.
inline Instruction with_operands(Assembler& assembler, const Statement& statement, Handler handler) {
  Instruction instruction;
  instruction.execute = handler;
  const std::vector<Operand>& operands = statement.operands;
  if (handler == nullptr || operands.empty() || operands.size() > 4) {
    return {};
  }
  instruction.d = assembler.destination(operands[0]);
  for (std::size_t i = 1; i < operands.size(); ++i) {
    (i == 1 ? instruction.a : i == 2 ? instruction.b : instruction.c) = assembler.source(operands[i]);
  }
  return instruction;
}

/// Handlers for an operation on values: a class with `static T apply(T...)`.
template <class T, class Operation>
const Instruction* unary(Frame& f, const Instruction* i) {
  set<T>(f, i->d, Operation::apply(get<T>(f, i->a)));
  return i + 1;
}
template <class T, class Operation>
const Instruction* binary(Frame& f, const Instruction* i) {
  set<T>(f, i->d, Operation::apply(get<T>(f, i->a), get<T>(f, i->b)));
  return i + 1;
}
template <class T, class Operation>
const Instruction* ternary(Frame& f, const Instruction* i) {
  set<T>(f, i->d, Operation::apply(get<T>(f, i->a), get<T>(f, i->b), get<T>(f, i->c)));
  return i + 1;
}

}  // namespace pagelab::emu::ptx
