// Descriptions and shapes with round numbers, for tests of the cost model: what a test does not price is
// free.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/device.h"
#include "models/cost_model.h"
#include "models/device_description.h"
#include "models/shape.h"

namespace pagelab::test {

inline constexpr double kFree = 1e300;  ///< a rate at which nothing takes time

/// A device on which everything is free and efficiencies are 1.
inline DeviceDescription free_device() {
  const Curve flat{{1}, {1}};
  DeviceDescription d;
  d.name = "free";
  d.source = "made up";
  d.memory_gib = 1;
  d.gemm = {.peak_flops = kFree, .bandwidth = kFree, .compute = flat, .traffic = flat};
  d.prefill_attention = {.peak_flops = kFree, .bandwidth = kFree, .efficiency = flat};
  d.decode_attention = {.bandwidth = kFree,
                        .efficiency = flat,
                        .block_factor = {{4, 16}, {2, 1}},
                        .group_sizes = {1, 4},
                        .launch_s = {0, 0},
                        .longest_s = {0, 0}};
  d.elementwise.bandwidth = kFree;
  d.sampling.bandwidth = kFree;
  d.all_reduce = {.gpus = {2, 4},
                  .latency_s = {0, 0},
                  .served_s = {0, 0},
                  .bandwidth = {kFree, kFree},
                  .efficiency = flat};
  d.swap_out.bandwidth = d.swap_in.bandwidth = kFree;
  return d;
}

/// Two layers of width 8, two heads of size 4.
inline ModelShape tiny_shape(const std::string& relative = "opt-125m") {
  ModelShape shape = *find_shape(relative);
  shape.name = "tiny";
  shape.layers = 2;
  shape.hidden = shape.embedding_size = 8;
  shape.heads = shape.kv_heads = 2;
  shape.head_size = 4;
  shape.ffn = 16;
  shape.vocab = 100;
  return shape;
}

/// A step in numbers: chunks as (first, count), and how many of everything else.
struct StepOf {
  std::vector<std::pair<std::int32_t, std::int32_t>> chunks{};
  std::size_t rows = 0;
  std::size_t swap_out = 0;
  std::size_t swap_in = 0;
  std::size_t copies = 0;
  std::int32_t requests = 0;  ///< that the rows are of
  std::int32_t greedy = 0;    ///< of those, decoded greedily
  std::int64_t forked = 0;    ///< tokens of beams that split off
};

inline StepBatch batch_of(const StepOf& step) {
  StepBatch batch;
  for (const auto& [first, count] : step.chunks) {
    batch.chunks.push_back({.blocks = {},
                            .first = first,
                            .count = count,
                            .row = static_cast<std::int32_t>(batch.tokens.size())});
    batch.tokens.resize(batch.tokens.size() + static_cast<std::size_t>(count));
  }
  batch.samples.resize(step.rows);
  batch.candidates = static_cast<std::int32_t>(step.rows);
  batch.requests = step.requests;
  batch.greedy = step.greedy;
  batch.forked = Tokens(step.forked);
  batch.swap_out.resize(step.swap_out);
  batch.swap_in.resize(step.swap_in);
  batch.copies.resize(step.copies);
  return batch;
}

}  // namespace pagelab::test
