// The vector passes of sampling over one row of logits. Chosen at run time for the machine's instruction set.
// Internal to the CPU backend.
#pragma once

#include <cstdint>
#include <limits>

namespace pagelab::kernels::cpu {

struct RowRange {
  float max = 0;
  float min = 0;  ///< of the finite logits
  std::int32_t argmax =
      -1;  ///< the smallest id with the largest logit; -1: the row is not valid (see sample())
};

/// The tokens that may be drawn: those up to and including this one in the order of falling logit, rising id.
struct LastKept {
  float logit = -std::numeric_limits<float>::infinity();
  std::int32_t id = std::numeric_limits<std::int32_t>::max();
};

/// Tokens whose weights are computed and summed together.
inline constexpr std::int32_t kWeightBlock = 512;

RowRange row_range(const float* logits, std::int32_t count);

/// weights[i] = exp((logits[first + i] - max) * inverse_temperature), 0 where not kept, for the tokens
/// [first, first + count); count at most kWeightBlock. Gives their sum.
double block_weights(const float* logits, std::int32_t first, std::int32_t count, float max,
                     float inverse_temperature, LastKept last, float* weights);

/// buckets[i] = min((max - logits[i]) * scale, limit), rounded down.
void block_buckets(const float* logits, std::int32_t count, float max, float scale, std::int32_t limit,
                   std::int32_t* buckets);

}  // namespace pagelab::kernels::cpu
