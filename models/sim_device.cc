#include "models/sim_device.h"

#include <algorithm>
#include <span>

namespace pagelab {

SimDevice::SimDevice(const DeviceDescription& device, const ModelShape& shape, const CostOptions& options,
                     const SimPools& pools)
    : costs_(device, shape, options),
      capacity_{.device_blocks = pools.device_blocks,
                .host_blocks = pools.host_blocks,
                .block_size = options.block_size,
                .block_bytes = options.block_size.value() * shape.kv_bytes_per_token(options.kv_dtype),
                .max_positions = Tokens(shape.max_positions),
                .vocabulary = shape.vocab,
                .row_bytes = Bytes(shard_of(shape, options.gpus).kv_bytes_per_layer(options.kv_dtype) / 2),
                .retention = true},
      attention_(shape.layers * shape.heads) {}

void SimDevice::execute(const StepBatch& batch, StepResult& result) {
  const OpCosts costs = costs_.step(batch);
  spent_ += costs;
  sampled_ = static_cast<std::int64_t>(batch.samples.size());
  forward_s_ = costs.forward().value();
  result.duration = costs.total();
  result.candidates.resize(static_cast<std::size_t>(batch.candidates));
  std::ranges::fill(result.candidates, TokenCandidate{});
  if (!batch.weighed.empty()) {
    attention_.weigh(batch, result.slot_weights);
  }
  const bool only_single_draws = result.candidates.size() == batch.samples.size();
  if (!only_single_draws) {
    draw_beams(batch, result);
  }
}

void SimDevice::draw_beams(const StepBatch& batch, StepResult& result) {
  std::size_t first = 0;
  for (const SampleRow& row : batch.samples) {
    const auto count = static_cast<std::size_t>(row.count);
    if (row.kind == SampleRow::Kind::top) {
      if (!beams_) {
        beams_.emplace(capacity_.vocabulary);
      }
      beams_->draw(row, std::span(result.candidates).subspan(first, count));
    }
    first += count;
  }
}

}  // namespace pagelab
