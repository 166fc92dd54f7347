// LLaMA 1, 2 and 3 (Touvron et al., 2023): RMS norm, rotary positions, grouped-query attention, SwiGLU, no
// biases; the head tied or not.
#pragma once

#include <vector>

#include "models/family.h"

namespace pagelab {

extern const Family llama_family;

/// The head_size / 2 inverse frequencies of the rotary embedding (RoFormer, section 3.4), rope_scaling
/// applied.
std::vector<float> rotary_frequencies(const ModelShape& shape);

}  // namespace pagelab
