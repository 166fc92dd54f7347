#include "models/modelled_attention.h"

#include <cmath>

#include "core/random.h"

namespace pagelab {

namespace {

/// Rounded so that a weight, this times an importance, is a multiple of 2^-30: sums of weights are exact, and
/// so do not depend on their order.
double rounded(double share) {
  constexpr double steps = 1 << 30;
  return std::ceil(share * steps) / steps;
}

/// A whole number from 1 to 4096.
double importance_of(std::uint64_t seed, std::int32_t position) {
  const std::uint64_t draw = derive_seed(seed, "importance", static_cast<std::uint64_t>(position)) >> 52;
  const std::uint64_t importance = 4096 / (draw + 1);
  return static_cast<double>(importance);
}

}  // namespace

void ModelledAttention::weigh(const StepBatch& batch, std::vector<double>& weights) {
  weights.clear();
  for (const WeighedChunk& weighed : batch.weighed) {
    const std::size_t first = weights.size();
    weights.resize(first + weighed.positions.size());
    weigh_chunk(batch.chunks[static_cast<std::size_t>(weighed.chunk)], weighed, weights.data() + first);
  }
}

void ModelledAttention::weigh_chunk(const Chunk& chunk, const WeighedChunk& weighed, double* weights) {
  double seen = 0;  // importance of all that the query at hand sees
  importance_.clear();
  for (const std::int32_t position : weighed.positions) {
    importance_.push_back(importance_of(weighed.seed, position));
    seen += importance_.back();
  }
  // What the queries from some token on give to a slot, per importance; the slots of the chunk's own tokens
  // are seen from these tokens on only, and are taken out of `importance_` once they have theirs.
  double given = 0;
  for (std::int32_t token = chunk.count; token-- > 0;) {
    const auto slot = static_cast<std::size_t>(chunk.slot(token));
    given += rounded(heads_ / seen);
    weights[slot] = importance_[slot] * given;
    seen -= importance_[slot];
    importance_[slot] = 0;
  }
  for (std::size_t slot = 0; slot < importance_.size(); ++slot) {
    weights[slot] += importance_[slot] * given;
  }
}

}  // namespace pagelab
