// GPT-2 (Radford et al., 2019): learned positions, layer norm, biases, GELU, tied head. Its checkpoints store
// the matrices of the layers transposed.
#pragma once

#include "models/family.h"

namespace pagelab {

extern const Family gpt2_family;

}  // namespace pagelab
