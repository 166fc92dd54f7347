#include "core/preemption_view.h"

#include <algorithm>

#include "core/device.h"
#include "core/kv_manager.h"

namespace pagelab {

const PreemptionCosts* PreemptionView::costs() const {
  return device_.preemption_costs();
}

Tokens PreemptionView::block_size() const {
  return kv_.block_size();
}

Bytes PreemptionView::block_bytes() const {
  return device_.capacity().block_bytes;
}

Blocks PreemptionView::held(const GroupView& group) const {
  return kv_.blocks_held(*group.group_);
}

Blocks PreemptionView::freed(const GroupView& group) const {
  return kv_.blocks_freed(*group.group_);
}

Tokens PreemptionView::tokens_lost(const GroupView& group) const {
  return kv_.tokens_lost(*group.group_);
}

bool PreemptionView::swappable(const GroupView& group) const {
  return !kv_.in_runs() && held(group) <= host_free_;
}

}  // namespace pagelab
