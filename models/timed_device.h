// TimedDevice: runs a step on the device inside but reports the time that a linear cost model gives it
// instead of the time it took, so that a run on real kernels repeats exactly in virtual time. Owns the device
// inside. The costs are the caller's; nothing here claims that they fit a machine.
#pragma once

#include <memory>
#include <vector>

#include "core/device.h"

namespace pagelab {

/// Seconds per unit of work; a step costs the sum. A sequence's chunk counts as decode if it is one token
/// whose successor is drawn in this step, else as prefill.
struct StepCost {
  double step_s = 0;           ///< per step
  double prefill_token_s = 0;  ///< per token of a prefill chunk
  double decode_token_s = 0;   ///< per decoding sequence
  double context_token_s = 0;  ///< per token of context that attention reads, over all sequences
  double swap_byte_s = 0;      ///< per byte between the tiers, either way
  double copy_block_s = 0;     ///< per block copied on the device, or as many tokens moved
};

class TimedDevice final : public Device, private PreemptionCosts {
 public:
  TimedDevice(std::unique_ptr<Device> inside, const StepCost& cost);

  DeviceCapacity capacity() const override { return inside_->capacity(); }
  void execute(const StepBatch& batch, StepResult& result) override;
  const PreemptionCosts* preemption_costs() const override { return this; }

 private:
  Seconds cost_of(const StepBatch& batch);
  std::optional<Seconds> recompute(Tokens context) const override;
  std::optional<Seconds> swap_out(Blocks blocks) const override;
  std::optional<Seconds> swap_in(Blocks blocks) const override { return swap_out(blocks); }

  std::unique_ptr<Device> inside_;
  StepCost cost_;
  std::vector<char> sampled_;  ///< per token of the step
};

}  // namespace pagelab
