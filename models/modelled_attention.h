// ModelledAttention: how much attention each slot receives on a device that computes none. Not a measurement:
// every token has an importance drawn once from a Pareto distribution of shape 1, by which the k-th of n
// tokens has about 1/k of the first's (Zipf's law; H2O, section 3.2, reports such a power law), and a query
// shares its attention out in proportion to the importance of the tokens that it sees. Drawn from the
// request's seed and the token's position, so the same run gives the same numbers. Keeps nothing but scratch
// memory.
#pragma once

#include <cstdint>
#include <vector>

#include "core/device.h"

namespace pagelab {

class ModelledAttention {
 public:
  /// `heads` over all layers: what a query's weights add up to.
  explicit ModelledAttention(std::int32_t heads) : heads_(heads) {}

  /// StepResult::slot_weights of the batch.
  void weigh(const StepBatch& batch, std::vector<double>& weights);

 private:
  void weigh_chunk(const Chunk& chunk, const WeighedChunk& weighed, double* weights);

  double heads_;
  std::vector<double> importance_;  ///< of each slot of the chunk at hand
};

}  // namespace pagelab
