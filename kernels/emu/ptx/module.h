// Module: what one PTX text declares. It is read once; the bodies of kernels and functions are assembled into
// Programs when they are first asked for, since a text may hold hundreds of kernels of which a run launches
// few. A module owns its Programs and the memory of its .global and .const variables; the text must outlive
// it.
//
// Not supported: textures, variables whose initial value is an address, function pointers, recursion.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/emu/ptx/instruction.h"

namespace pagelab::emu::ptx {

class Scanner;

class Module {
 public:
  /// `name` stands for the text in reports where there are no .loc lines: "name.ptx". Throws
  /// std::runtime_error with the line of what cannot be read.
  Module(std::string name, std::string_view text);
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;

  /// Null if the module has no such kernel. Throws std::runtime_error if its body cannot be read.
  const Program* kernel(std::string_view name);
  std::vector<std::string_view> kernels() const;

  /// A .global or .const variable of the module holds the byte at `address`.
  bool owns(const void* address) const;

  // --- For the assembler.

  struct Variable {
    enum class Space : std::uint8_t { global, constant, shared };
    Space space = Space::global;
    std::size_t offset = 0;  ///< of shared: in the block's shared memory, where it is not dynamic
    std::size_t bytes = 0;
    bool dynamic = false;         ///< extern .shared: at the end of all static shared memory
    std::byte* memory = nullptr;  ///< of global and constant
  };
  /// Null if there is no such variable.
  const Variable* variable(std::string_view name) const;
  const Program* function(std::string_view name);
  /// Static shared memory that is not declared within a kernel.
  std::size_t shared_bytes() const { return shared_bytes_; }

  /// `name` of .file, or null. Lives as long as the program.
  const char* file(int number) const;
  const std::string& name() const { return name_; }

 private:
  struct Function {
    std::string_view name;
    std::string_view body;  ///< empty: declared only
    int body_line = 0;
    bool is_kernel = false;
    std::vector<Parameter> parameters;
    std::size_t results = 0;
    std::size_t parameter_bytes = 0;
    Extent block_limit{0, 0, 0};
    std::unique_ptr<Program> program;
    bool assembling = false;
  };

  void read();
  void read_directive(Scanner& scan);
  void read_file(Scanner& scan);
  void read_function(Scanner& scan, bool is_kernel);
  void read_parameters(Scanner& scan, Function& function);
  void read_variable(Scanner& scan, Variable::Space space, bool is_extern);
  const Program* assembled(Function& function);

  std::string name_;
  std::string_view text_;
  std::map<std::string_view, Function> functions_;
  std::map<std::string_view, Variable> variables_;
  std::vector<std::vector<std::byte>> memory_;
  std::map<int, const char*> files_;
  std::size_t shared_bytes_ = 0;
};

/// A `.param` or variable declaration after its state space: `.align N`, type, name, dimensions.
struct Declaration {
  std::string_view name;
  std::size_t element_bytes = 0;
  std::size_t alignment = 0;
  std::size_t bytes = 0;  ///< 0 for `name[]`
};
Declaration read_declaration(Scanner& scan);

/// The bits of a literal: decimal, 0x, 0f (float) or 0d (double). Throws std::runtime_error.
std::uint64_t read_number(std::string_view text);

/// The same characters with the lifetime of the program.
const char* interned(std::string_view text);

}  // namespace pagelab::emu::ptx
