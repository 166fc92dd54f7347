#include <array>
#include <stdexcept>
#include <string>
#include <utility>

#include "kernels/emu/ptx/assembler.h"
#include "kernels/emu/ptx/statement.h"

namespace pagelab::emu::ptx {
namespace {

constexpr std::array<std::pair<std::string_view, Type>, 19> kTypes = {{{"pred", Type::pred},
                                                                       {"u8", Type::u8},
                                                                       {"u16", Type::u16},
                                                                       {"u32", Type::u32},
                                                                       {"u64", Type::u64},
                                                                       {"s8", Type::s8},
                                                                       {"s16", Type::s16},
                                                                       {"s32", Type::s32},
                                                                       {"s64", Type::s64},
                                                                       {"b8", Type::b8},
                                                                       {"b16", Type::b16},
                                                                       {"b32", Type::b32},
                                                                       {"b64", Type::b64},
                                                                       {"f16", Type::f16},
                                                                       {"bf16", Type::bf16},
                                                                       {"f16x2", Type::f16x2},
                                                                       {"bf16x2", Type::bf16x2},
                                                                       {"f32", Type::f32},
                                                                       {"f64", Type::f64}}};

std::int64_t read_signed(Scanner& scan) {
  bool negative = false;
  while (scan.peek().is("+") || scan.peek().is("-")) {
    negative ^= scan.next().is("-");
  }
  const std::uint64_t bits = read_number(scan.next().text);
  return static_cast<std::int64_t>(negative ? 0 - bits : bits);
}

std::vector<Operand> read_list(Scanner& scan, std::string_view close) {
  std::vector<Operand> elements;
  while (!scan.take(close)) {
    elements.push_back(read_operand(scan));
    scan.take(",");
  }
  return elements;
}

Operand read_address(Scanner& scan) {
  Operand operand;
  operand.kind = Operand::Kind::address;
  if (scan.peek().kind == Token::Kind::word) {
    operand.name = scan.next().text;
  }
  if (!scan.peek().is("]")) {
    operand.value = read_signed(scan);
  }
  scan.expect("]");
  return operand;
}

}  // namespace

Type type_named(std::string_view name) {
  for (const auto& [known, type] : kTypes) {
    if (known == name) {
      return type;
    }
  }
  return Type::none;
}

std::size_t bytes_of(Type type) {
  using enum Type;
  switch (type) {
    case u8:
    case s8:
    case b8:
      return 1;
    case u16:
    case s16:
    case b16:
    case f16:
    case bf16:
      return 2;
    case u32:
    case s32:
    case b32:
    case f16x2:
    case bf16x2:
    case f32:
      return 4;
    case u64:
    case s64:
    case b64:
    case f64:
      return 8;
    default:
      return 0;
  }
}

bool Statement::has(std::string_view part) const {
  for (std::string_view known : parts) {
    if (known == part) {
      return true;
    }
  }
  return false;
}

Operand read_operand(Scanner& scan) {
  Operand operand;
  if (scan.take("[")) {
    return read_address(scan);
  }
  if (scan.peek().is("{") || scan.peek().is("(")) {
    operand.kind = Operand::Kind::list;
    operand.elements = read_list(scan, scan.next().is("{") ? "}" : ")");
    return operand;
  }
  if (scan.peek().kind != Token::Kind::word) {
    operand.kind = Operand::Kind::number;
    operand.value = read_signed(scan);
    return operand;
  }
  operand.name = scan.next().text;
  if (scan.take("|")) {
    operand.second = scan.next().text;
  } else if (scan.peek().is("+")) {
    operand.value = read_signed(scan);
  }
  return operand;
}

Statement read_whole_statement(Scanner& scan) {
  Statement statement;
  if (scan.take("@")) {
    statement.guard_negated = scan.take("!");
    statement.guard = scan.next().text;
  }
  const Token opcode = scan.next();
  statement.line = opcode.line;
  statement.opcode = opcode.text;
  std::string_view rest = opcode.text;
  for (bool first = true; !rest.empty(); first = false) {
    const std::size_t dot = std::min(rest.find('.'), rest.size());
    if (first) {
      statement.base = rest.substr(0, dot);
    } else {
      statement.parts.push_back(rest.substr(0, dot));
    }
    rest.remove_prefix(std::min(dot + 1, rest.size()));
  }
  while (!scan.peek().is(";")) {
    statement.operands.push_back(read_operand(scan));
    if (!scan.peek().is(";")) {
      scan.expect(",");
    }
  }
  const Token end = scan.next();
  statement.text = {opcode.text.data(), static_cast<std::size_t>(end.text.data() - opcode.text.data())};
  return statement;
}

}  // namespace pagelab::emu::ptx
