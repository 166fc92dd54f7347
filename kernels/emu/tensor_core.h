// Tensor-core instructions of sm_80 as warp collectives, by the fragment layouts of the PTX ISA (ldmatrix,
// mma.m16n8k16). Products are exact and summed in double, rounded to float once; a GPU rounds otherwise.
#pragma once

#include <cstdint>

#include "kernels/emu/simt.h"

namespace pagelab::emu {

/// ldmatrix.sync.aligned.m8n8.x<count>{.trans}.shared.b16, count 1, 2 or 4: lane 8 * i + r gives the address
/// of row r of matrix i, 16 bytes at a multiple of 16 in the block's shared memory (lanes beyond 8 * count
/// give any); each lane gets of matrix i the elements (lane / 4, 2 * (lane % 4)..+1), of the transposed one
/// if `transposed`, in fragment[i]. All 32 lanes take part.
void load_matrices(std::uint32_t* fragment, int count, bool transposed, const void* row, std::uintptr_t pc,
                   Site site);

enum class MatrixElement : std::uint8_t { f16, bf16 };

/// mma.sync.aligned.m16n8k16.row.col.f32.*.*.f32: accumulator += a * b. All 32 lanes take part.
void multiply_add(float (&accumulator)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
                  MatrixElement element, Site site);

}  // namespace pagelab::emu
