// `pagelab generate`: continues one prompt with a model and prints ids and log-probabilities, for checks
// against other implementations. It runs the same engine, KV manager and kernels as `pagelab run`, with one
// request.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/request.h"
#include "experiments/experiment.h"

namespace pagelab {

struct GenerateOptions {
  ModelChoice model;
  std::vector<TokenId> ids;
  std::int64_t max_new = 16;
  Sampling sampling;
  std::uint64_t seed = 1;
  std::string device = "cpu";  ///< a kind of device
  std::int64_t block_size = 16;
  std::int32_t threads = 0;
  kernels::DType kv_dtype = kernels::DType::f32;
};

/// One JSON object: {"sequences": [{"ids": [...], "logprobs": [...], "score": x}, ...]}, best first for
/// beams. `score` is the sum of the log-probabilities, for beams divided by length^penalty. Throws
/// InputError.
std::string generate(const GenerateOptions& options);

}  // namespace pagelab
