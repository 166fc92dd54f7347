// The retention axis: which tokens of a sequence keep their KV? After each step the policy is asked about
// every sequence that is at its budget of slots, and says which slots to drop; the next token goes into a
// slot that was dropped. Attention does not care in which order the slots lie, since a token's position is
// part of its K (or of its embedding).
//
// A prompt is computed whole before anything of it is dropped, so a prompt that is longer than the budget
// holds more slots until then. From there on a sequence computes one token a step, also when it is recomputed
// after a preemption: it then takes the same decisions again, so its tokens do not depend on being preempted.
//
// The policy names slots; it cannot touch one. The core checks (Retainer), KvManager drops.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/group.h"
#include "core/ids.h"
#include "core/views.h"

namespace pagelab {

/// The slots of a sequence as a retention policy sees them, between two steps. Borrowed for one call.
class SlotsView {
 public:
  SlotsView(const SequenceGroup& group, bool weighed) : group_(&group), weighed_(weighed) {}

  GroupView group() const { return GroupView(*group_); }
  /// The position in its sequence of the token in each slot: distinct, in no order.
  std::span<const std::int32_t> positions() const { return group_->retained.positions; }
  /// Attention that the token in each slot has received since it was computed, from its own query and all
  /// later ones: softmax weights summed over heads and layers. Empty unless the policy wants it. On the
  /// device `sim` it is modelled (models/modelled_attention.h).
  std::span<const double> weights() const {
    return weighed_ ? std::span<const double>(group_->retained.weights) : std::span<const double>();
  }
  /// The position of the token computed last, which must stay.
  std::int32_t newest() const { return static_cast<std::int32_t>(group_->live.front().computed.value()) - 1; }

 private:
  const SequenceGroup* group_;
  bool weighed_;
};

/// Which tokens of a sequence keep their KV?
class RetentionPolicy {
 public:
  virtual ~RetentionPolicy() = default;
  /// Whether nothing is ever dropped. Then the policy is asked nothing else.
  virtual bool keeps_all() const { return false; }
  /// Whether it looks at SlotsView::weights(), which costs a second pass over K in every step.
  virtual bool wants_weights() const { return false; }
  /// Slots that the group's sequence may hold while it decodes, the token that is being computed included; at
  /// least 2. Asked once, when the group arrives.
  virtual Tokens budget(const GroupView& group) = 0;
  /// The slots to drop, added to `drop` (empty): indices into slots.positions(), at least `least` of them,
  /// each once, and not that of the newest token. Called when the sequence has no slot left for its next
  /// token.
  virtual void choose(const SlotsView& slots, Tokens least, std::vector<std::int32_t>& drop) = 0;
};

}  // namespace pagelab
