// PreemptionCosts: what a device says of the two ways in which a preempted group comes back, so that a
// preemption policy can compare them. The device that has it owns it. Estimates: nothing here promises what a
// step will take, and nothing is charged by them.
#pragma once

#include <optional>

#include "core/ids.h"

namespace pagelab {

class PreemptionCosts {
 public:
  virtual ~PreemptionCosts() = default;
  /// What computing the KV of the first `context` tokens of a sequence in one piece adds to a step that runs
  /// anyway. None where it is not known (yet).
  virtual std::optional<Seconds> recompute(Tokens context) const = 0;
  /// What moving so many blocks adds to a step. None where it is not known (yet).
  virtual std::optional<Seconds> swap_out(Blocks blocks) const = 0;
  virtual std::optional<Seconds> swap_in(Blocks blocks) const = 0;
};

}  // namespace pagelab
