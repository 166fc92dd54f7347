// Turns the body of a PTX function into a Program: names into slots, labels into distances, opcodes into
// handlers. The opcodes themselves are in instructions_*.cc, one function per opcode, found through
// find_opcode().
#pragma once

#include <cstdint>
#include <map>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "kernels/emu/ptx/instruction.h"
#include "kernels/emu/ptx/module.h"
#include "kernels/emu/ptx/token.h"
#include "kernels/emu/ptx/types.h"

namespace pagelab::emu::ptx {

struct Operand {
  enum class Kind : std::uint8_t { name, number, address, list };
  Kind kind = Kind::name;
  std::string_view name;    ///< of a name; the base of an address, empty for a plain number
  std::string_view second;  ///< q of `p|q`
  std::int64_t value = 0;   ///< the bits of a number; what is added to a name or an address
  std::vector<Operand> elements;
};

struct Statement {
  std::string_view opcode;              ///< whole: "ld.global.v4.f32"
  std::string_view base;                ///< "ld"
  std::vector<std::string_view> parts;  ///< "global", "v4", "f32"
  std::string_view guard;               ///< the predicate register, or empty
  bool guard_negated = false;
  std::vector<Operand> operands;
  std::string_view text;
  int line = 0;

  bool has(std::string_view part) const;
  /// The last part as a type, or the one before it.
  Type type() const { return parts.empty() ? Type::none : type_named(parts.back()); }
  Type second_type() const { return parts.size() < 2 ? Type::none : type_named(parts[parts.size() - 2]); }
};

class Assembler;
/// Makes the one instruction of a statement. An answer without a handler means: not supported.
using Opcode = Instruction (*)(Assembler&, const Statement&);
/// By base name; null if there is none.
Opcode find_opcode(std::string_view base);

class Assembler {
 public:
  Assembler(Module& module, bool is_kernel, Program& program)
      : module_(module), is_kernel_(is_kernel), program_(program), scopes_(1) {}
  void run(Scanner body);

  // --- For opcodes.

  /// The slot to read an operand from; throws std::runtime_error for an unknown name.
  std::uint32_t source(const Operand& operand);
  /// The slot to write; `_` has one that nobody reads.
  std::uint32_t destination(const Operand& operand);
  std::uint32_t register_named(std::string_view name);
  std::uint32_t constant(std::uint64_t bits) { return initial(InitialSlot::Kind::constant, bits); }
  /// Sets `a` and `immediate`.
  void address(const Operand& operand, Instruction& instruction);
  const std::uint32_t* list(std::vector<std::uint32_t> slots);
  /// Slots of a list's elements, or of the one operand.
  const std::uint32_t* sources(const Operand& operand);
  const std::uint32_t* destinations(const Operand& operand);
  /// The instruction being made will have the distance to `label` in `immediate`.
  void branch_to(std::string_view label) { branches_.push_back({program_.code.size(), label}); }
  /// The same for each target of a `.branchtargets`; distances in `list`, their number in `c`.
  void branch_table(std::string_view label) { tables_.push_back({program_.code.size(), label}); }
  /// Calls `callee`; the number of the call goes to `immediate`.
  std::int64_t call(std::string_view callee, const std::vector<Operand>& results,
                    const std::vector<Operand>& arguments);

 private:
  struct Symbol {
    enum class Kind : std::uint8_t { reg, local, shared } kind = Kind::reg;
    std::uint64_t value = 0;
    std::uint32_t count = 0;  ///< of a family of registers `name<count>`; 0: a single one
  };
  using Scope = std::unordered_map<std::string_view, Symbol>;
  struct Place {
    int file, line, column;
    auto operator<=>(const Place&) const = default;
  };
  struct Reference {
    std::size_t instruction;
    std::string_view label;
  };

  void read_registers(Scanner& scan);
  void read_memory(Scanner& scan, Symbol::Kind kind);
  void read_location(Scanner& scan);
  void read_directive(Scanner& scan);
  void read_statement(Scanner& scan);
  void emit(const Instruction& instruction, const Statement& statement);
  void finish();
  void resolve_branches();

  const Symbol* symbol(std::string_view name, std::uint32_t& index) const;
  std::uint32_t named(std::string_view name, std::int64_t offset);
  std::uint32_t initial(InitialSlot::Kind kind, std::uint64_t value);
  std::size_t local_offset(const Operand& operand) const;
  std::size_t label_at(std::string_view label) const;

  Module& module_;
  bool is_kernel_;
  Program& program_;
  std::vector<Scope> scopes_;
  std::map<std::pair<InitialSlot::Kind, std::uint64_t>, std::uint32_t> initial_;
  std::vector<std::size_t> dynamic_shared_;  ///< numbers in program_.initial
  std::unordered_map<std::string_view, std::size_t> labels_;
  std::unordered_map<std::string_view, std::vector<std::string_view>> branch_targets_;
  std::vector<Reference> branches_, tables_;
  std::map<Place, Place> inlined_at_;
  Site site_;
  std::uint32_t sink_ = ~0u;
};

/// `body` is the text from brace to brace, `line` that of the first one. Throws std::runtime_error.
void assemble(Module& module, std::string_view body, int line, bool is_kernel, Program& program);

}  // namespace pagelab::emu::ptx
