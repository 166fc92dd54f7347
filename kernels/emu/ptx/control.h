// Instructions that the assembler makes itself.
#pragma once

#include "kernels/emu/ptx/instruction.h"

namespace pagelab::emu::ptx {

/// Skips the instruction behind it unless the predicate holds.
Instruction guard_instruction(std::uint32_t predicate, bool negated);
Instruction return_instruction();
/// Ends the launch with a report of kind `unsupported` that names the statement.
Instruction unsupported_instruction();

}  // namespace pagelab::emu::ptx
