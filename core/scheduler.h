// Scheduler: plans a step. It asks the policies in turn, checks that what they want fits on scratch counts of
// the free blocks, and records decisions; it changes nothing but the queues' keys and order, so a plan may be
// dropped.
//
// The rules that hold whatever the policies (PagedAttention paper, section 4.5, and vLLM's code): a group is
// preempted as a whole; a step that preempts neither swaps in nor admits; nothing is admitted while a group
// is swapped.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "core/kv_manager.h"
#include "core/policy_registry.h"
#include "core/step.h"

namespace pagelab {

/// The live groups by state, each queue in scheduling order. Groups are owned by the engine.
struct Queues {
  std::vector<SequenceGroup*> running;
  std::vector<SequenceGroup*> swapped;
  std::deque<SequenceGroup*> waiting;
  std::vector<SequenceGroup*> ended;  ///< that wait for the rest of their batch to be answered with it

  bool empty() const { return running.empty() && swapped.empty() && waiting.empty(); }
};

/// Whether `a` goes before `b`: smaller key, then earlier request.
inline bool goes_before(const SequenceGroup* a, const SequenceGroup* b) {
  return a->key != b->key ? a->key < b->key : a->request.id < b->request.id;
}

class Scheduler {
 public:
  /// Borrows all, which must outlive it.
  Scheduler(PolicySet& policies, const KvManager& kv, const Device& device)
      : policies_(policies), kv_(kv), preemption_view_(kv, device) {
    policies_.preemption->start(preemption_view_);
  }

  /// Asks the scheduling policy for a group's key.
  void rank(SequenceGroup& group, Seconds now, std::int64_t step);

  /// Plans step number `step`. An empty plan means that there is nothing to run. Throws PolicyError.
  void plan(Queues& queues, Seconds now, std::int64_t step, StepPlan& plan);

 private:
  void refresh_keys(Queues& queues, Seconds now);
  void find_keepers(const Queues& queues);
  void walk_running(StepPlan& plan);
  void walk_swapped(const Queues& queues, StepPlan& plan);
  void walk_waiting(const Queues& queues, StepPlan& plan);
  /// Preempts until running_[place] can append; false if it was itself preempted.
  bool make_room(std::size_t place, Blocks exact, Blocks headroom, StepPlan& plan);
  void preempt(std::size_t place, const Victim& victim, StepPlan& plan);
  /// The preemption policy's answer for running_[first] and those behind it, checked.
  Victim choose_victim(std::size_t first, Blocks wanted);
  /// Leading blocks that a victim keeps, which may be fewer than the policy says.
  Blocks kept_by(const SequenceGroup& group, const Victim& victim) const;
  /// Takes blocks that waiting groups kept, the last group's first, but not those of `spared`, until so many
  /// are free or there are no more.
  void reclaim(Blocks wanted, const SequenceGroup* spared, StepPlan& plan);
  /// Whether so many blocks are free, or can be and now are.
  bool make_free(Blocks wanted, const SequenceGroup* spared, StepPlan& plan);
  /// The batching policy's answer for a group, checked.
  Tokens grant(const SequenceGroup& group, Stage stage);
  /// Takes the group that grant() was last asked for into the step.
  void take(DecisionKind kind, SequenceGroup& group, Tokens tokens, const char* reason, StepPlan& plan);
  /// Free blocks that must be there for a group that takes `need` of them to come in.
  Blocks with_watermark(Blocks need) const;
  /// Whether there are runs for a group besides those of the groups admitted so far in this plan.
  bool runs_fit(const SequenceGroup& group);
  [[noreturn]] void broken(std::string_view axis, const std::string& name, const std::string& rule) const;
  template <class Policy, class Ask>
  auto ask(const PolicySet::Choice<Policy>& choice, Ask&& question) const;

  /// A waiting group and the blocks that it kept, less those taken from it in this plan.
  struct Keeper {
    SequenceGroup* group;
    Blocks kept;   ///< entries of its table
    Blocks freed;  ///< of those, the ones that are free when it gives them up
    bool trimmed = false;
  };

  PolicySet& policies_;
  const KvManager& kv_;
  PreemptionView preemption_view_;

  // Scratch of the plan being made.
  std::int64_t step_ = 0;
  StepSoFar so_far_;
  Blocks free_;
  Blocks host_free_;
  bool preempted_ = false;
  Tokens pending_;         ///< of the group that grant() was last asked for
  bool decoding_ = false;  ///< whether that group decodes
  std::size_t swapped_left_ = 0;
  std::vector<SequenceGroup*> running_;  ///< not preempted in this plan
  std::vector<GroupView> candidates_;
  std::vector<Blocks> runs_;     ///< of the groups admitted
  std::vector<Keeper> keepers_;  ///< in scheduling order
};

}  // namespace pagelab
