#include "kernels/emu/ptx/assembler.h"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string>

#include "kernels/emu/ptx/control.h"
#include "kernels/emu/ptx/statement.h"

namespace pagelab::emu::ptx {
namespace {

constexpr std::array<std::string_view, 20> kSpecialRegisters = {
    "%tid.x",       "%tid.y",       "%tid.z",       "%ntid.x",      "%ntid.y",
    "%ntid.z",      "%ctaid.x",     "%ctaid.y",     "%ctaid.z",     "%nctaid.x",
    "%nctaid.y",    "%nctaid.z",    "%laneid",      "%warpid",      "%lanemask_eq",
    "%lanemask_lt", "%lanemask_le", "%lanemask_gt", "%lanemask_ge", "%dynamic_smem_size"};

std::size_t align_up(std::size_t value, std::size_t alignment) {
  return (value + alignment - 1) / alignment * alignment;
}

[[noreturn]] void unknown(std::string_view what, std::string_view name) {
  throw std::runtime_error("unknown " + std::string(what) + " '" + std::string(name) + "'");
}

// Code of these files belongs to whoever called it: a report names the first caller outside of them.
bool is_wrapper(std::string_view file) {
  return file.ends_with("/primitives.cuh") || file == "primitives.cuh" ||
         file.find("/include/") != std::string_view::npos;
}

}  // namespace

void Assembler::read_registers(Scanner& scan) {
  scan.next();  // the type: slots hold any
  do {
    const std::string_view name = scan.next().text;
    Symbol symbol{Symbol::Kind::reg, program_.slots, 0};
    if (scan.take("<")) {
      symbol.count = static_cast<std::uint32_t>(read_number(scan.next().text));
      scan.expect(">");
    }
    program_.slots += std::max(symbol.count, 1u);
    scopes_.back()[name] = symbol;
  } while (scan.take(","));
  scan.expect(";");
}

void Assembler::read_memory(Scanner& scan, Symbol::Kind kind) {
  const Declaration declared = read_declaration(scan);
  std::size_t& used = kind == Symbol::Kind::shared ? program_.shared_bytes : program_.local_bytes;
  const std::size_t offset = align_up(used, declared.alignment);
  used = offset + declared.bytes;
  scopes_.back()[declared.name] = {kind, offset, 0};
  scan.expect(";");
}

void Assembler::read_location(Scanner& scan) {
  const auto place = [&] {
    const auto number = [&] { return static_cast<int>(read_number(scan.next().text)); };
    const int file = number();
    const int line = number();
    return Place{file, line, number()};
  };
  Place at = place();
  if (scan.take(",")) {
    scan.expect("function_name");
    scan.next();
    if (scan.take("+")) {
      scan.next();
    }
    scan.expect(",");
    scan.expect("inlined_at");
    inlined_at_[at] = place();
  } else {
    inlined_at_.erase(at);
  }
  const auto file_of = [&](const Place& place_in_file) {
    const char* file = module_.file(place_in_file.file);
    return std::string_view(file == nullptr ? "" : file);
  };
  Place named = at;
  for (int depth = 0; is_wrapper(file_of(named)) && inlined_at_.contains(named) && depth < 64; ++depth) {
    named = inlined_at_.at(named);
  }
  site_ = {module_.file(named.file), named.line};
}

void Assembler::read_directive(Scanner& scan) {
  const Token token = scan.next();
  if (token.is(".reg")) {
    read_registers(scan);
  } else if (token.is(".local") || token.is(".param")) {
    read_memory(scan, Symbol::Kind::local);
  } else if (token.is(".shared")) {
    read_memory(scan, Symbol::Kind::shared);
  } else if (token.is(".loc")) {
    read_location(scan);
  } else if (token.is(".pragma")) {
    scan.skip_statement();
  } else {
    unknown("directive", token.text);
  }
}

void Assembler::emit(const Instruction& instruction, const Statement& statement) {
  program_.code.push_back(instruction);
  program_.sites.push_back(site_.file != nullptr && site_.line != 0
                               ? site_
                               : Site{interned(module_.name() + ".ptx"), statement.line});
  program_.texts.push_back(statement.text);
}

void Assembler::read_statement(Scanner& scan) {
  const Statement statement = read_whole_statement(scan);
  if (!statement.guard.empty() && statement.base != "bra") {
    emit(guard_instruction(register_named(statement.guard), statement.guard_negated), statement);
  }
  const Opcode opcode = find_opcode(statement.base);
  Instruction instruction = opcode == nullptr ? Instruction{} : opcode(*this, statement);
  if (instruction.execute == nullptr) {
    instruction = unsupported_instruction();
  }
  emit(instruction, statement);
}

void Assembler::run(Scanner scan) {
  program_.shared_bytes = module_.shared_bytes();
  program_.local_bytes = is_kernel_ ? 0 : program_.parameter_bytes;
  while (scan.peek().kind != Token::Kind::end) {
    const int line = scan.peek().line;
    try {
      if (scan.take("{")) {
        scopes_.emplace_back();
      } else if (scan.take("}")) {
        scopes_.pop_back();
      } else if (scan.take(";")) {
        continue;
      } else if (scan.peek().text.starts_with('.')) {
        read_directive(scan);
      } else if (Scanner after = scan; after.next().kind == Token::Kind::word && after.take(":")) {
        const std::string_view label = scan.next().text;
        scan = after;
        if (scan.take(".branchtargets")) {
          do {
            branch_targets_[label].push_back(scan.next().text);
          } while (scan.take(","));
          scan.expect(";");
        } else if (!labels_.emplace(label, program_.code.size()).second) {
          throw std::runtime_error("label '" + std::string(label) + "' stands twice");
        }
      } else {
        read_statement(scan);
      }
    } catch (const std::runtime_error& error) {
      throw std::runtime_error(module_.name() + ".ptx:" + std::to_string(line) + ": " + error.what());
    }
  }
  finish();
}

void Assembler::finish() {
  Statement end;
  end.text = "end of the body";
  emit(return_instruction(), end);
  resolve_branches();
  program_.local_bytes = align_up(program_.local_bytes, 16);
  program_.shared_bytes = align_up(program_.shared_bytes, program_.shared_bytes == 0 ? 1 : 128);
  for (const std::size_t number : dynamic_shared_) {
    program_.initial[number].value += program_.shared_bytes;
  }
  program_.all_slots = program_.slots;
  program_.all_local_bytes = program_.local_bytes;
  for (const Program::Call& call : program_.calls) {
    program_.all_slots = std::max(program_.all_slots, program_.slots + call.callee->all_slots);
    program_.all_local_bytes =
        std::max(program_.all_local_bytes, program_.local_bytes + call.callee->all_local_bytes);
  }
}

std::size_t Assembler::label_at(std::string_view label) const {
  const auto found = labels_.find(label);
  if (found == labels_.end()) {
    unknown("label", label);
  }
  return found->second;
}

void Assembler::resolve_branches() {
  for (const Reference& branch : branches_) {
    program_.code[branch.instruction].immediate =
        static_cast<std::int64_t>(label_at(branch.label)) - static_cast<std::int64_t>(branch.instruction);
  }
  for (const Reference& table : tables_) {
    const auto found = branch_targets_.find(table.label);
    if (found == branch_targets_.end()) {
      unknown("branch targets", table.label);
    }
    std::vector<std::uint32_t> distances;
    for (const std::string_view label : found->second) {
      distances.push_back(static_cast<std::uint32_t>(label_at(label) - table.instruction));
    }
    program_.code[table.instruction].c = static_cast<std::uint32_t>(distances.size());
    program_.code[table.instruction].list = list(std::move(distances));
  }
}

const Assembler::Symbol* Assembler::symbol(std::string_view name, std::uint32_t& index) const {
  const std::size_t digits = name.find_last_not_of("0123456789") + 1;
  const std::string_view family = name.substr(0, digits);
  for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
    if (const auto found = scope->find(name); found != scope->end() && found->second.count == 0) {
      index = 0;
      return &found->second;
    }
    if (digits == name.size()) {
      continue;
    }
    const auto found = scope->find(family);
    index = static_cast<std::uint32_t>(read_number(name.substr(digits)));
    if (found != scope->end() && index < found->second.count) {
      return &found->second;
    }
  }
  return nullptr;
}

std::uint32_t Assembler::initial(InitialSlot::Kind kind, std::uint64_t value) {
  const auto [entry, is_new] = initial_.try_emplace({kind, value}, program_.slots);
  if (is_new) {
    program_.initial.push_back({program_.slots++, kind, value});
  }
  return entry->second;
}

std::uint32_t Assembler::named(std::string_view name, std::int64_t offset) {
  const auto added = static_cast<std::uint64_t>(offset);
  std::uint32_t index = 0;
  if (const Symbol* known = symbol(name, index); known != nullptr) {
    switch (known->kind) {
      case Symbol::Kind::reg:
        return static_cast<std::uint32_t>(known->value) + index;
      case Symbol::Kind::local:
        return initial(InitialSlot::Kind::local, known->value + added);
      case Symbol::Kind::shared:
        return constant(known->value + added);
    }
  }
  if (const auto special = std::ranges::find(kSpecialRegisters, name); special != kSpecialRegisters.end()) {
    return initial(InitialSlot::Kind::special,
                   static_cast<std::uint64_t>(special - kSpecialRegisters.begin()));
  }
  if (name == "WARP_SZ") {
    return constant(32);
  }
  for (const Parameter& parameter : program_.parameters) {
    if (parameter.name == name) {
      return initial(is_kernel_ ? InitialSlot::Kind::parameter : InitialSlot::Kind::local,
                     parameter.offset + added);
    }
  }
  const Module::Variable* variable = module_.variable(name);
  if (variable == nullptr) {
    unknown("name", name);
  }
  if (variable->space != Module::Variable::Space::shared) {
    return constant(reinterpret_cast<std::uintptr_t>(variable->memory) + added);
  }
  if (!variable->dynamic) {
    return constant(variable->offset + added);
  }
  dynamic_shared_.push_back(program_.initial.size());
  program_.initial.push_back({program_.slots, InitialSlot::Kind::constant, added});
  return program_.slots++;
}

std::uint32_t Assembler::register_named(std::string_view name) {
  std::uint32_t index = 0;
  const Symbol* known = symbol(name, index);
  if (known == nullptr || known->kind != Symbol::Kind::reg) {
    unknown("register", name);
  }
  return static_cast<std::uint32_t>(known->value) + index;
}

std::uint32_t Assembler::source(const Operand& operand) {
  if (operand.kind == Operand::Kind::number) {
    return constant(static_cast<std::uint64_t>(operand.value));
  }
  return named(operand.name, operand.value);
}

std::uint32_t Assembler::destination(const Operand& operand) {
  if (operand.name != "_") {
    return register_named(operand.name);
  }
  if (sink_ == ~0u) {
    sink_ = program_.slots++;
  }
  return sink_;
}

void Assembler::address(const Operand& operand, Instruction& instruction) {
  instruction.a = operand.name.empty() ? constant(0) : named(operand.name, 0);
  instruction.immediate = operand.value;
}

const std::uint32_t* Assembler::list(std::vector<std::uint32_t> slots) {
  return program_.lists.emplace_back(std::move(slots)).data();
}

const std::uint32_t* Assembler::sources(const Operand& operand) {
  std::vector<std::uint32_t> slots;
  for (const Operand& element : operand.elements) {
    slots.push_back(source(element));
  }
  return list(operand.kind == Operand::Kind::list ? std::move(slots) : std::vector{source(operand)});
}

const std::uint32_t* Assembler::destinations(const Operand& operand) {
  std::vector<std::uint32_t> slots;
  for (const Operand& element : operand.elements) {
    slots.push_back(destination(element));
  }
  return list(operand.kind == Operand::Kind::list ? std::move(slots) : std::vector{destination(operand)});
}

std::size_t Assembler::local_offset(const Operand& operand) const {
  std::uint32_t index = 0;
  const Symbol* known = symbol(operand.name, index);
  if (known == nullptr || known->kind != Symbol::Kind::local) {
    unknown("parameter of a call", operand.name);
  }
  return known->value;
}

std::int64_t Assembler::call(std::string_view callee, const std::vector<Operand>& results,
                             const std::vector<Operand>& arguments) {
  Program::Call call;
  call.callee = module_.function(callee);
  if (call.callee == nullptr) {
    unknown("function", callee);
  }
  const std::vector<Parameter>& parameters = call.callee->parameters;
  if (results.size() + arguments.size() != parameters.size()) {
    throw std::runtime_error("wrong number of parameters for " + std::string(callee));
  }
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const bool is_result = i < call.callee->results;
    const Operand& operand = is_result ? results[i] : arguments[i - call.callee->results];
    (is_result ? call.out : call.in)
        .push_back({local_offset(operand), parameters[i].offset, parameters[i].bytes});
  }
  program_.calls.push_back(std::move(call));
  return static_cast<std::int64_t>(program_.calls.size() - 1);
}

void assemble(Module& module, std::string_view body, int line, bool is_kernel, Program& program) {
  Assembler(module, is_kernel, program).run(Scanner(body, line));
}

}  // namespace pagelab::emu::ptx
