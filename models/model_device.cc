#include "models/model_device.h"

#include <algorithm>
#include <chrono>

#include "core/random.h"

namespace pagelab {
namespace {

kernels::SampleSpec spec_of(const SampleRow& row) {
  using Kind = kernels::SampleSpec::Kind;
  const Kind kind = row.kind == SampleRow::Kind::greedy   ? Kind::greedy
                    : row.kind == SampleRow::Kind::random ? Kind::random
                                                          : Kind::top;
  return {kind, row.count, row.temperature, row.top_k, row.top_p};
}

/// The number in [0, 1) that decides candidate `index` of a row: addressed by the row's own seed, stream and
/// position, so it does not depend on what else is in the batch.
float uniform_of(const SampleRow& row, std::uint32_t index) {
  const auto bits =
      philox({row.stream + index, row.position, 0, 0},
             {static_cast<std::uint32_t>(row.seed), static_cast<std::uint32_t>(row.seed >> 32)});
  return static_cast<float>(bits[0] >> 8) * 0x1.0p-24f;
}

}  // namespace

kernels::KvShape kv_shape(const ModelShape& shape, const KvOptions& options) {
  return {.layers = shape.layers,
          .kv_heads = shape.kv_heads,
          .head_size = shape.head_size,
          .block_size = options.block_size,
          .dtype = options.dtype,
          .device_blocks = options.device_blocks,
          .host_blocks = options.host_blocks};
}

ModelDevice::ModelDevice(std::unique_ptr<kernels::Ops> ops, std::unique_ptr<Model> model,
                         const KvOptions& options)
    : ops_(std::move(ops)),
      model_(std::move(model)),
      kv_(kv_shape(model_->shape(), options)),
      maps_pages_(options.maps_pages) {
  ops_->allocate_kv(kv_);
}

DeviceCapacity ModelDevice::capacity() const {
  return {.device_blocks = Blocks(kv_.device_blocks),
          .host_blocks = Blocks(kv_.host_blocks),
          .block_size = Tokens(kv_.block_size),
          .block_bytes = Bytes(kv_.block_bytes()),
          .max_positions = Tokens(model_->shape().max_positions),
          .vocabulary = model_->shape().vocab,
          .row_bytes = Bytes(kv_.block_bytes() / (2 * kv_.layers * kv_.block_size)),
          .maps_pages = maps_pages_,
          .retention = ops_->serves_retention()};
}

void MeasuredCosts::Average::add(double more_s, std::size_t more_units) {
  seconds += more_s;
  units += static_cast<std::int64_t>(more_units);
}

std::optional<Seconds> MeasuredCosts::Average::of(std::int64_t count) const {
  return units == 0
             ? std::nullopt
             : std::optional(Seconds(seconds / static_cast<double>(units) * static_cast<double>(count)));
}

void MeasuredCosts::add(const StepBatch& batch, double step_s, double traffic_s) {
  if (batch.copies.empty()) {  // blocks are swapped out or in, never both
    (batch.swap_out.empty() ? swap_in_ : swap_out_)
        .add(traffic_s, batch.swap_out.size() + batch.swap_in.size());
  }
  const auto decodes = std::ranges::count(batch.chunks, 1, &Chunk::count);
  if (!batch.tokens.empty() && 10 * decodes <= static_cast<std::int64_t>(batch.tokens.size())) {
    prefill_.add(step_s - traffic_s, batch.tokens.size());
  }
}

void ModelDevice::execute(const StepBatch& batch, StepResult& result) {
  const auto start = std::chrono::steady_clock::now();
  const double traffic_before = ops_->seconds_in(kernels::OpKind::copy);
  move_blocks(batch);
  prepare_samples(batch);
  ops_->begin_step();
  table_.build(batch, kv_.block_size);
  kernels::AttentionBatch attention = table_.view();
  if (!batch.weighed.empty()) {
    attention.slot_weights = clear_weights(batch, result);
  }
  const kernels::Tensor logits = model_->forward(*ops_, batch.tokens, attention, rows_);
  if (!rows_.empty()) {
    ops_->sample(logits, specs_, sample_indptr_, uniforms_, candidates_);
  }
  ops_->synchronize();
  result.candidates.resize(candidates_.size());
  std::transform(candidates_.begin(), candidates_.end(), result.candidates.begin(),
                 [](const kernels::Candidate& c) {
                   return TokenCandidate{c.token, c.logprob};
                 });
  result.duration = Seconds(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  costs_.add(batch, result.duration.value(), ops_->seconds_in(kernels::OpKind::copy) - traffic_before);
}

std::span<double> ModelDevice::clear_weights(const StepBatch& batch, StepResult& result) {
  std::size_t slots = 0;
  for (const WeighedChunk& weighed : batch.weighed) {
    slots += weighed.positions.size();
  }
  result.slot_weights.assign(slots, 0.0);
  return result.slot_weights;
}

void ModelDevice::move_blocks(const StepBatch& batch) {
  const auto plain = [&](const std::vector<BlockCopy>& copies) {
    copies_.clear();
    for (const BlockCopy& copy : copies) {
      copies_.push_back({copy.source.value(), copy.target.value()});
    }
    return std::span<const kernels::BlockCopy>(copies_);
  };
  if (!batch.moves.empty()) {
    moves_.clear();
    for (const SlotMove& move : batch.moves) {
      moves_.push_back({move.source, move.target});
    }
    ops_->move_slots(moves_);
  }
  if (!batch.swap_out.empty()) {
    ops_->swap_out(plain(batch.swap_out));
  }
  if (!batch.swap_in.empty()) {
    ops_->swap_in(plain(batch.swap_in));
  }
  if (!batch.copies.empty()) {
    ops_->copy_blocks(plain(batch.copies));
  }
}

void ModelDevice::prepare_samples(const StepBatch& batch) {
  rows_.clear();
  specs_.clear();
  uniforms_.clear();
  sample_indptr_.assign(1, 0);
  for (const SampleRow& row : batch.samples) {
    rows_.push_back(row.row);
    specs_.push_back(spec_of(row));
    sample_indptr_.push_back(sample_indptr_.back() + row.count);
    for (std::int32_t i = 0; i < row.count; ++i) {
      uniforms_.push_back(row.kind == SampleRow::Kind::random ? uniform_of(row, static_cast<std::uint32_t>(i))
                                                              : 0.0f);
    }
  }
  candidates_.resize(uniforms_.size());
}

}  // namespace pagelab
