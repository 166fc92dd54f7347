#include "kernels/emu/ptx/module.h"

#include <algorithm>
#include <charconv>
#include <stdexcept>

#include "kernels/emu/ptx/assembler.h"
#include "kernels/emu/ptx/token.h"
#include "kernels/emu/ptx/types.h"

namespace pagelab::emu::ptx {
namespace {

std::size_t align_up(std::size_t value, std::size_t alignment) {
  return (value + alignment - 1) / alignment * alignment;
}

[[noreturn]] void cannot_read(const Token& token, const std::string& why) {
  throw std::runtime_error("PTX line " + std::to_string(token.line) + ": " + why + " '" +
                           std::string(token.text) + "'");
}

}  // namespace

const char* interned(std::string_view text) {
  static std::set<std::string, std::less<>> strings;
  const auto found = strings.find(text);
  return (found != strings.end() ? found : strings.emplace(text).first)->c_str();
}

std::uint64_t read_number(std::string_view text) {
  int base = 10;
  std::string_view digits = text;
  if (digits.size() > 2 && digits[0] == '0' &&
      std::string_view("xXfFdD").find(digits[1]) != std::string_view::npos) {
    base = 16;
    digits.remove_prefix(2);
  } else if (digits.size() > 1 && digits.back() == 'U') {
    digits.remove_suffix(1);
  }
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (error != std::errc() || end != digits.data() + digits.size()) {
    throw std::runtime_error("cannot read the number '" + std::string(text) + "'");
  }
  return value;
}

Declaration read_declaration(Scanner& scan) {
  Declaration declared;
  if (scan.take(".align")) {
    declared.alignment = read_number(scan.next().text);
  }
  const Token type = scan.next();
  declared.element_bytes = bytes_of(type_named(type.text.substr(1)));
  if (declared.element_bytes == 0) {
    cannot_read(type, "unknown type");
  }
  // A pointer's annotation: .ptr .global .align 16
  while (scan.peek().is(".ptr") || scan.peek().is(".global") || scan.peek().is(".align")) {
    if (scan.next().is(".align")) {
      scan.next();
    }
  }
  declared.alignment = std::max(declared.alignment, declared.element_bytes);
  declared.name = scan.next().text;
  declared.bytes = declared.element_bytes;
  while (scan.take("[")) {
    if (scan.take("]")) {
      declared.bytes = 0;
    } else {
      declared.bytes *= read_number(scan.next().text);
      scan.expect("]");
    }
  }
  return declared;
}

Module::Module(std::string name, std::string_view text) : name_(std::move(name)), text_(text) {
  read();
}

void Module::read() {
  Scanner scan(text_);
  while (scan.peek().kind != Token::Kind::end) {
    read_directive(scan);
  }
}

void Module::read_directive(Scanner& scan) {
  bool is_extern = false;
  while (scan.peek().is(".visible") || scan.peek().is(".weak") || scan.peek().is(".extern") ||
         scan.peek().is(".common")) {
    is_extern |= scan.next().is(".extern");
  }
  const Token token = scan.next();
  if (token.is(".entry") || token.is(".func")) {
    read_function(scan, token.is(".entry"));
  } else if (token.is(".global")) {
    read_variable(scan, Variable::Space::global, is_extern);
  } else if (token.is(".const")) {
    read_variable(scan, Variable::Space::constant, is_extern);
  } else if (token.is(".shared")) {
    read_variable(scan, Variable::Space::shared, is_extern);
  } else if (token.is(".file")) {
    read_file(scan);
  } else if (token.is(".section")) {
    scan.next();
    scan.skip_block();
  } else if (token.is(".version") || token.is(".address_size")) {
    scan.next();
  } else if (token.is(".target")) {
    do {
      scan.next();
    } while (scan.take(","));
  } else if (!token.is(";")) {
    cannot_read(token, "unknown directive");
  }
}

void Module::read_file(Scanner& scan) {
  const int number = static_cast<int>(read_number(scan.next().text));
  files_[number] = interned(scan.next().text);
  while (scan.take(",")) {  // time stamp and size
    scan.next();
  }
}

void Module::read_parameters(Scanner& scan, Function& function) {
  if (!scan.take("(")) {
    return;
  }
  while (!scan.take(")")) {
    if (!scan.take(".param")) {
      scan.expect(".reg");
    }
    const Declaration declared = read_declaration(scan);
    const std::size_t offset = align_up(function.parameter_bytes, declared.alignment);
    function.parameters.push_back({declared.name, offset, declared.bytes});
    function.parameter_bytes = offset + declared.bytes;
    scan.take(",");
  }
}

void Module::read_function(Scanner& scan, bool is_kernel) {
  Function function;
  function.is_kernel = is_kernel;
  if (!is_kernel) {
    read_parameters(scan, function);
    function.results = function.parameters.size();
  }
  function.name = scan.next().text;
  read_parameters(scan, function);
  while (!scan.peek().is("{") && !scan.take(";")) {
    if (scan.take(".maxntid")) {
      function.block_limit = {1, 1, 1};
      std::uint32_t* sides[] = {&function.block_limit.x, &function.block_limit.y, &function.block_limit.z};
      for (std::uint32_t* side : sides) {
        *side = static_cast<std::uint32_t>(read_number(scan.next().text));
        if (!scan.take(",")) {
          break;
        }
      }
    } else if (const Token token = scan.next(); token.kind == Token::Kind::end) {
      cannot_read(token, "the body is missing of " + std::string(function.name));
    }
  }
  if (scan.peek().is("{")) {
    function.body_line = scan.peek().line;
    function.body = scan.skip_block();
  }
  Function& known = functions_[function.name];
  if (known.body.empty()) {
    known = std::move(function);
  }
}

void Module::read_variable(Scanner& scan, Variable::Space space, bool is_extern) {
  const Declaration declared = read_declaration(scan);
  Variable variable;
  variable.space = space;
  variable.bytes = declared.bytes;
  if (space == Variable::Space::shared) {
    variable.dynamic = is_extern;
    if (!is_extern) {
      variable.offset = align_up(shared_bytes_, declared.alignment);
      shared_bytes_ = variable.offset + declared.bytes;
    }
  } else {
    std::vector<std::byte>& memory = memory_.emplace_back(declared.bytes + declared.alignment);
    const auto begin = reinterpret_cast<std::uintptr_t>(memory.data());
    variable.memory = memory.data() + (align_up(begin, declared.alignment) - begin);
    if (scan.take("=")) {
      std::byte* to = variable.memory;
      const bool braces = scan.take("{");
      do {
        const bool negative = scan.take("-");
        const Token token = scan.next();
        if (token.kind != Token::Kind::number) {
          cannot_read(token, "cannot initialise with");
        }
        const std::uint64_t bits = negative ? 0 - read_number(token.text) : read_number(token.text);
        std::memcpy(to, &bits, declared.element_bytes);
        to += declared.element_bytes;
      } while (scan.take(","));
      if (braces) {
        scan.expect("}");
      }
    }
  }
  variables_[declared.name] = variable;
  scan.expect(";");
}

std::vector<std::string_view> Module::kernels() const {
  std::vector<std::string_view> names;
  for (const auto& [name, function] : functions_) {
    if (function.is_kernel) {
      names.push_back(name);
    }
  }
  return names;
}

const Program* Module::assembled(Function& function) {
  if (function.program == nullptr) {
    if (function.body.empty()) {
      throw std::runtime_error("PTX: function " + std::string(function.name) + " has no body");
    }
    if (function.assembling) {
      throw std::runtime_error("PTX: function " + std::string(function.name) + " calls itself");
    }
    function.assembling = true;
    auto program = std::make_unique<Program>();
    program->module = this;
    program->name = function.name;
    program->parameters = function.parameters;
    program->results = function.results;
    program->parameter_bytes = function.parameter_bytes;
    program->block_limit = function.block_limit;
    assemble(*this, function.body, function.body_line, function.is_kernel, *program);
    function.program = std::move(program);
    function.assembling = false;
  }
  return function.program.get();
}

const Program* Module::kernel(std::string_view name) {
  const auto found = functions_.find(name);
  return found == functions_.end() || !found->second.is_kernel ? nullptr : assembled(found->second);
}

const Program* Module::function(std::string_view name) {
  const auto found = functions_.find(name);
  return found == functions_.end() ? nullptr : assembled(found->second);
}

const Module::Variable* Module::variable(std::string_view name) const {
  const auto found = variables_.find(name);
  return found == variables_.end() ? nullptr : &found->second;
}

bool Module::owns(const void* address) const {
  return std::ranges::any_of(memory_, [&](const std::vector<std::byte>& memory) {
    return address >= memory.data() && address < memory.data() + memory.size();
  });
}

const char* Module::file(int number) const {
  const auto found = files_.find(number);
  return found == files_.end() ? nullptr : found->second;
}

}  // namespace pagelab::emu::ptx
