// Read-only views: all that a policy gets to see of the engine. A view is borrowed for the call that passes
// it and cannot change anything. What a system could not know while serving (the true output length) is not
// in a view: an Oracle tells it, and only the registry makes one.
#pragma once

#include <algorithm>
#include <optional>

#include "core/group.h"
#include "core/ids.h"

namespace pagelab {

/// A sequence group as policies see it.
class GroupView {
 public:
  explicit GroupView(const SequenceGroup& group) : group_(&group) {}

  RequestId request() const { return group_->request.id; }
  std::int32_t client() const { return group_->request.client; }
  /// Larger is more urgent.
  std::int32_t priority() const { return group_->request.priority; }
  Seconds arrival() const { return group_->request.arrival; }
  /// When it should have ended, since the start of the run; none: any time will do.
  std::optional<Seconds> deadline() const { return group_->request.deadline; }
  GroupState state() const { return group_->state; }
  Tokens prompt_tokens() const { return Tokens(static_cast<std::int64_t>(group_->request.prompt.size())); }
  /// Tokens produced so far by its longest live sequence.
  Tokens output_tokens() const {
    Tokens longest;
    for (const Sequence& sequence : group_->live) {
      longest = std::max(longest, sequence.known() - sequence.prompt);
    }
    return longest;
  }
  /// Tokens computed, over all live sequences (shared ones count for each, and those dropped since).
  Tokens computed_tokens() const {
    Tokens sum;
    for (const Sequence& sequence : group_->live) {
      sum += sequence.computed;
    }
    return sum;
  }
  Tokens pending_tokens() const { return group_->pending(); }
  /// Of a waiting group: leading tokens of its first sequence whose KV is in the pool already, so that it
  /// will share their blocks; else 0.
  Tokens cached_tokens() const {
    return group_->state == GroupState::waiting ? group_->live.front().shared : Tokens(0);
  }
  std::int32_t live_sequences() const { return static_cast<std::int32_t>(group_->live.size()); }
  /// Sequences that the group has or will have once its prompt is computed.
  std::int32_t width() const { return group_->width(); }
  std::int32_t preemptions() const { return group_->preempted_recompute + group_->preempted_swap; }

 private:
  friend class Oracle;
  friend class PreemptionView;
  const SequenceGroup* group_;
};

/// Knows what no system can know while it serves. A policy asks for it by a constructor that takes
/// (const Parameters&, const Oracle&); the registry then declares the policy as one that needs it.
class Oracle {
 public:
  /// Tokens that each sequence of the group will have produced at its end, exact if lengths are forced.
  Tokens output_tokens(const GroupView& group) const { return group.group_->request.max_output; }

 private:
  friend class PolicyRegistry;
  Oracle() = default;
};

}  // namespace pagelab
