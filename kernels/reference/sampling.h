// Log-probabilities and the kept set of sampling in double, by sorting. For tests only.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/ops.h"

namespace pagelab::kernels::reference {

/// log-softmax of the logits.
std::vector<double> log_softmax(std::span<const float> logits);

/// Token ids by falling logit, then rising id.
std::vector<std::int32_t> ranking(std::span<const float> logits);

/// The probability of each token to be drawn under Kind::random: 0 outside of top-k and top-p.
std::vector<double> draw_probabilities(std::span<const float> logits, const SampleSpec& spec);

/// The token that `uniform` draws by inverse CDF in order of ids.
std::int32_t draw(std::span<const double> probabilities, double uniform);

}  // namespace pagelab::kernels::reference
