#include "models/timed_device.h"

#include <utility>

namespace pagelab {

TimedDevice::TimedDevice(std::unique_ptr<Device> inside, const StepCost& cost)
    : inside_(std::move(inside)), cost_(cost) {}

void TimedDevice::execute(const StepBatch& batch, StepResult& result) {
  inside_->execute(batch, result);
  result.duration = cost_of(batch);
}

Seconds TimedDevice::cost_of(const StepBatch& batch) {
  sampled_.assign(batch.tokens.size(), 0);
  for (const SampleRow& sample : batch.samples) {
    sampled_[static_cast<std::size_t>(sample.row)] = 1;
  }
  const DeviceCapacity capacity = inside_->capacity();
  std::int64_t prefill = 0;
  std::int64_t decode = 0;
  std::int64_t context = 0;
  for (const Chunk& chunk : batch.chunks) {
    const bool decodes = chunk.count == 1 && sampled_[static_cast<std::size_t>(chunk.row)] != 0;
    (decodes ? decode : prefill) += chunk.count;
    context += chunk.context();
  }
  const auto swapped = static_cast<std::int64_t>(batch.swap_out.size() + batch.swap_in.size());
  return Seconds(cost_.step_s + cost_.prefill_token_s * static_cast<double>(prefill) +
                 cost_.decode_token_s * static_cast<double>(decode) +
                 cost_.context_token_s * static_cast<double>(context) +
                 cost_.swap_byte_s * static_cast<double>(swapped * capacity.block_bytes.value()) +
                 cost_.copy_block_s * (static_cast<double>(batch.copies.size()) +
                                       static_cast<double>(batch.moves.size()) /
                                           static_cast<double>(capacity.block_size.value())));
}

std::optional<Seconds> TimedDevice::recompute(Tokens context) const {
  return static_cast<double>(context.value()) * Seconds(cost_.prefill_token_s + cost_.context_token_s);
}

std::optional<Seconds> TimedDevice::swap_out(Blocks blocks) const {
  const Bytes bytes = blocks.value() * inside_->capacity().block_bytes;
  return Seconds(cost_.swap_byte_s * static_cast<double>(bytes.value()));
}

}  // namespace pagelab
