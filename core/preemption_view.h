// PreemptionView: what a preemption policy may ask besides the groups themselves: blocks, the need at hand
// and what the device says of its costs. Made by the scheduler, borrowed by the policy for the whole run; the
// figures are those of the plan at the moment of the question. It changes nothing.
#pragma once

#include <vector>

#include "core/ids.h"
#include "core/preemption_costs.h"
#include "core/views.h"

namespace pagelab {

class Device;
class KvManager;

class PreemptionView {
 public:
  /// Borrows both, which must outlive it.
  PreemptionView(const KvManager& kv, const Device& device) : kv_(kv), device_(device) {}

  /// Null where the device knows none.
  const PreemptionCosts* costs() const;
  Tokens block_size() const;
  /// K and V of one block over all layers.
  Bytes block_bytes() const;
  /// Device blocks of a running group, each counted once; swapping it moves so many.
  Blocks held(const GroupView& group) const;
  /// Of those, the ones that are free when it gives way.
  Blocks freed(const GroupView& group) const;
  /// Tokens whose KV is lost when it gives way to be recomputed; those of a shared block count once.
  Tokens tokens_lost(const GroupView& group) const;
  /// Blocks that are still missing.
  Blocks lacking() const { return lacking_; }
  /// Whether a swap of the group would fit into the host pool.
  bool swappable(const GroupView& group) const;

 private:
  friend class Scheduler;

  const KvManager& kv_;
  const Device& device_;
  Blocks lacking_;
  Blocks host_free_;
};

}  // namespace pagelab
