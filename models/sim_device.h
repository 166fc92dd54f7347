// SimDevice: a device that is not there. It has the capacity and the step times of the device and model that
// it is made from (models/cost_model.h), moves no block and draws no token: greedy and random rows get token
// 0, rows of beam search the candidates of a modelled language model (models/beam_process.h). Output lengths
// must therefore be forced. Attention weights are modelled too (models/modelled_attention.h). Its time is
// virtual: a run on it needs a VirtualClock.
//
// Made to be fast: a step costs a pass over its chunks and about a microsecond, and nothing is allocated once
// the first beams have been seen.
#pragma once

#include <cstdint>
#include <optional>

#include "core/device.h"
#include "models/beam_process.h"
#include "models/cost_model.h"
#include "models/modelled_attention.h"

namespace pagelab {

struct SimPools {
  Blocks device_blocks;
  Blocks host_blocks;
};

class SimDevice final : public Device, private PreemptionCosts {
 public:
  /// Throws InputError as CostModel does.
  SimDevice(const DeviceDescription& device, const ModelShape& shape, const CostOptions& options,
            const SimPools& pools);

  DeviceCapacity capacity() const override { return capacity_; }
  void execute(const StepBatch& batch, StepResult& result) override;

  /// The cost model's. A recomputation is added to a step like the last one.
  const PreemptionCosts* preemption_costs() const override { return this; }

  const CostModel& costs() const { return costs_; }
  /// Of all steps so far.
  const OpCosts& spent() const { return spent_; }

 private:
  std::optional<Seconds> recompute(Tokens context) const override {
    return Seconds(costs_.added_prefill_s(sampled_, context.value()));
  }
  std::optional<Seconds> swap_out(Blocks blocks) const override {
    return Seconds(costs_.swap_out_s(blocks.value(), forward_s_));
  }
  std::optional<Seconds> swap_in(Blocks blocks) const override {
    return Seconds(costs_.swap_in_s(blocks.value(), forward_s_));
  }
  void draw_beams(const StepBatch& batch, StepResult& result);

  CostModel costs_;
  DeviceCapacity capacity_;
  OpCosts spent_;
  std::int64_t sampled_ = 0;          ///< rows of the last step
  double forward_s_ = 0;              ///< its forward pass
  std::optional<BeamProcess> beams_;  ///< made for the first row that asks for it
  ModelledAttention attention_;
};

}  // namespace pagelab
