// Reading of PTX statements: guard, opcode, operands. Views into the text, no meaning yet.
#pragma once

#include "kernels/emu/ptx/assembler.h"
#include "kernels/emu/ptx/token.h"

namespace pagelab::emu::ptx {

/// Up to and with the `;`. Throws std::runtime_error with the line.
Statement read_whole_statement(Scanner& scan);
Operand read_operand(Scanner& scan);

}  // namespace pagelab::emu::ptx
