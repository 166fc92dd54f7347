#include "core/step.h"

namespace pagelab {

std::string_view name_of(DecisionKind kind) {
  switch (kind) {
    case DecisionKind::admit:
      return "admit";
    case DecisionKind::proceed:
      return "proceed";
    case DecisionKind::preempt_recompute:
      return "preempt_recompute";
    case DecisionKind::preempt_swap:
      return "preempt_swap";
    case DecisionKind::swap_in:
      return "swap_in";
    case DecisionKind::copy_on_write:
      return "copy_on_write";
    case DecisionKind::fork:
      return "fork";
    case DecisionKind::finish:
      return "finish";
    case DecisionKind::pin_prefix:
      return "pin_prefix";
    case DecisionKind::drop_tokens:
      return "drop_tokens";
    case DecisionKind::share:
      return "share";
    case DecisionKind::cache:
      return "cache";
    case DecisionKind::evict:
      return "evict";
    case DecisionKind::trim:
      return "trim";
  }
  return "?";
}

}  // namespace pagelab
