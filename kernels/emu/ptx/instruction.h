// What PTX becomes before it runs: Program, a flat array of instructions whose operands are numbers of 64-bit
// slots. Registers, constants, special registers and addresses of variables all have slots of their own, so
// that an instruction reads nothing but slots. Frame is the state of one thread (or of one call) while it
// runs.
//
// A slot holds a value in its low bits; integers are extended to 64 bits by their own sign, so that a
// narrower read of a wider register takes the low part, as PTX has it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "kernels/emu/simt.h"

namespace pagelab::emu::ptx {

struct Frame;
struct Instruction;
class Module;

/// Executes one instruction and answers the next one; null ends the thread or the call.
using Handler = const Instruction* (*)(Frame&, const Instruction*);

/// What d, a, b, c and the others mean is up to the handler; addresses are a (slot) + immediate.
struct Instruction {
  Handler execute = nullptr;
  std::uint32_t d = 0, a = 0, b = 0, c = 0;
  std::int64_t immediate = 0;
  const std::uint32_t* list = nullptr;  ///< more slots, of vectors and fragments; owned by the program
};

/// A slot to fill when a thread or a call begins.
struct InitialSlot {
  enum class Kind : std::uint8_t {
    constant,   ///< value
    parameter,  ///< address of the launch's parameters + value
    local,      ///< address of the frame's local memory + value
    special     ///< special register number `value` (SpecialRegister)
  };
  std::uint32_t slot = 0;
  Kind kind = Kind::constant;
  std::uint64_t value = 0;
};

enum class SpecialRegister : std::uint8_t {
  tid_x,
  tid_y,
  tid_z,
  ntid_x,
  ntid_y,
  ntid_z,
  ctaid_x,
  ctaid_y,
  ctaid_z,
  nctaid_x,
  nctaid_y,
  nctaid_z,
  laneid,
  warpid,
  lanemask_eq,
  lanemask_lt,
  lanemask_le,
  lanemask_gt,
  lanemask_ge,
  dynamic_shared_bytes
};

/// A parameter of a kernel or of a device function, or what a device function returns.
struct Parameter {
  std::string_view name;
  std::size_t offset = 0;  ///< in the parameter buffer of a kernel; in the local memory of a function
  std::size_t bytes = 0;
};

/// Bytes that a call copies between the local memories of the caller and of the callee.
struct CallCopy {
  std::size_t caller, callee, bytes;
};

/// One kernel or device function, ready to run.
struct Program {
  struct Call {
    const Program* callee;
    std::vector<CallCopy> in, out;
  };

  const Module* module = nullptr;  ///< its owner
  std::string name;
  std::vector<Instruction> code;
  std::vector<Site> sites;              ///< of each instruction
  std::vector<std::string_view> texts;  ///< of each instruction, in the module's PTX
  std::vector<InitialSlot> initial;
  std::deque<std::vector<std::uint32_t>> lists;
  std::vector<Call> calls;
  std::vector<Parameter> parameters;  ///< in order; of a function, what it returns first
  std::size_t results = 0;            ///< how many of them are returned
  std::size_t parameter_bytes = 0;    ///< of a kernel
  std::uint32_t slots = 0;            ///< of its own
  std::size_t local_bytes = 0;        ///< of its own, 16-byte aligned
  std::size_t shared_bytes = 0;       ///< static; dynamic shared memory follows
  std::uint32_t all_slots = 0;        ///< with those of the functions that it calls
  std::size_t all_local_bytes = 0;
  Extent block_limit{0, 0, 0};  ///< .maxntid; 0: none
};

/// What is the same for all threads of a launch.
struct Launch {
  const Program* kernel = nullptr;
  Extent grid, block;
  const std::byte* parameters = nullptr;
  std::size_t dynamic_shared_bytes = 0;
};

struct Frame {
  std::uint64_t* slots = nullptr;
  std::byte* local = nullptr;
  std::byte* shared = nullptr;
  std::size_t shared_bytes = 0;
  Observer* observer = nullptr;
  const Launch* launch = nullptr;
  const Program* program = nullptr;
  std::uint64_t executed = 0;  ///< instructions, a predicated one counts whether it runs or not
  std::uint32_t carry = 0;     ///< the condition code of add.cc and its kin

  std::size_t index(const Instruction* i) const { return static_cast<std::size_t>(i - program->code.data()); }
  Site site(const Instruction* i) const { return program->sites[index(i)]; }
};

/// The register value `slot` as a T.
template <class T>
T get(const Frame& frame, std::uint32_t slot) {
  T value;
  std::memcpy(&value, frame.slots + slot, sizeof value);
  return value;
}

template <class T>
void set(Frame& frame, std::uint32_t slot, T value) {
  if constexpr (std::is_integral_v<T> && std::is_signed_v<T>) {
    frame.slots[slot] = static_cast<std::uint64_t>(std::int64_t{value});
  } else if constexpr (std::is_integral_v<T>) {
    frame.slots[slot] = value;
  } else {
    std::uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    frame.slots[slot] = bits;
  }
}

/// Ends the launch with a report that names the place, the block and the thread.
[[noreturn]] void fail(const Frame& frame, const Instruction* i, KernelError::Kind kind,
                       const std::string& what);

/// Runs `program` in a frame whose slots and local memory are at hand, from its first instruction to its end.
void execute(Frame& frame, const Program& program);

}  // namespace pagelab::emu::ptx
