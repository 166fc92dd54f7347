// ModelDevice: a device that runs a real model. Owns the backend and the model on it; turns the batch of a
// step into calls of the backend in the order that core/device.h gives, and measures how long they took.
// Takes no decision and keeps no state between steps but the KV cache and its buffers, which stop growing
// once it is warm.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/device.h"
#include "kernels/ops.h"
#include "models/model.h"
#include "models/page_table.h"

namespace pagelab {

struct KvOptions {
  std::int32_t block_size = 16;  ///< token slots, 1 to 256
  kernels::DType dtype = kernels::DType::f32;
  std::int32_t device_blocks = 0;
  std::int32_t host_blocks = 0;
  bool maps_pages = false;  ///< as the backend does (DeviceCapacity)
};

/// What preempting costs by the steps so far: seconds per token of the steps that computed next to nothing
/// but prompts, and per block swapped. Unknown until there was one.
class MeasuredCosts final : public PreemptionCosts {
 public:
  std::optional<Seconds> recompute(Tokens context) const override { return prefill_.of(context.value()); }
  std::optional<Seconds> swap_out(Blocks blocks) const override { return swap_out_.of(blocks.value()); }
  std::optional<Seconds> swap_in(Blocks blocks) const override { return swap_in_.of(blocks.value()); }

  /// Takes a step into account: how long it took, and its block traffic alone.
  void add(const StepBatch& batch, double step_s, double traffic_s);

 private:
  struct Average {
    double seconds = 0;
    std::int64_t units = 0;

    void add(double more_s, std::size_t more_units);
    std::optional<Seconds> of(std::int64_t count) const;
  };

  Average prefill_, swap_out_, swap_in_;
};

/// The KV cache of a model of this shape.
kernels::KvShape kv_shape(const ModelShape& shape, const KvOptions& options);

class ModelDevice final : public Device {
 public:
  /// Allocates the KV cache; `model` was packed by `ops`. Throws std::bad_alloc.
  ModelDevice(std::unique_ptr<kernels::Ops> ops, std::unique_ptr<Model> model, const KvOptions& options);

  DeviceCapacity capacity() const override;
  /// Throws InputError if a token or a position is not the model's.
  void execute(const StepBatch& batch, StepResult& result) override;

  const PreemptionCosts* preemption_costs() const override { return &costs_; }

  const Model& model() const { return *model_; }
  /// Seconds spent in operations of this kind since construction.
  double seconds_in(kernels::OpKind kind) const { return ops_->seconds_in(kind); }

 private:
  void move_blocks(const StepBatch& batch);
  /// Room for the weights of the batch's weighed chunks, all 0.
  static std::span<double> clear_weights(const StepBatch& batch, StepResult& result);
  void prepare_samples(const StepBatch& batch);

  std::unique_ptr<kernels::Ops> ops_;
  std::unique_ptr<Model> model_;  // before ops_ in destruction
  kernels::KvShape kv_;
  bool maps_pages_;
  MeasuredCosts costs_;

  // Buffers of one step.
  PageTable table_;
  std::vector<kernels::SlotMove> moves_;
  std::vector<kernels::BlockCopy> copies_;
  std::vector<std::int32_t> rows_;
  std::vector<kernels::SampleSpec> specs_;
  std::vector<std::int32_t> sample_indptr_;
  std::vector<float> uniforms_;
  std::vector<kernels::Candidate> candidates_;
};

}  // namespace pagelab
