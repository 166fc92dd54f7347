// OPT (Zhang et al., 2022): learned positions, layer norm, biases, ReLU, tied head. opt-350m differs: the
// norms stand after attention and feed-forward, and token embeddings are narrower than the layers.
#pragma once

#include "models/family.h"

namespace pagelab {

extern const Family opt_family;

}  // namespace pagelab
