// Scheduler: plans a step. It asks the policies in turn, checks that what they want fits on scratch counts of
// the free blocks, and records decisions; it changes nothing but the queues' keys and order, so a plan may be
// dropped.
//
// The rules that hold whatever the policies (PagedAttention paper, section 4.5, and vLLM's code): a group is
// preempted as a whole; a step that preempts neither swaps in nor admits; nothing is admitted while a group
// is swapped, unless the scheduling policy displaces groups: then swapped and waiting groups come back in one
// order.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <vector>

#include "core/error.h"
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
  Scheduler(PolicySet& policies, const KvManager& kv, const Device& device);

  /// Tells the scheduling policy of an accepted group and asks for its key.
  void arrive(SequenceGroup& group, Seconds now, std::int64_t step);
  /// Tells the scheduling policy what the groups got from a step, before its tokens are committed.
  void served(const StepPlan& plan, Seconds began, Seconds ended);
  /// Tells the scheduling policy that a group has ended.
  void ended(const SequenceGroup& group, Seconds now);

  /// Plans step number `step`. An empty plan means that there is nothing to run. Throws PolicyError.
  void plan(Queues& queues, Seconds now, std::int64_t step, StepPlan& plan);

 private:
  void rank(SequenceGroup& group, Seconds now);
  void refresh_keys(Queues& queues, Seconds now);
  /// The batching policy's order of the stages, checked.
  std::array<Stage, 3> stages() const;
  /// The allocation policy's answer for a group that needs `exact` blocks, checked.
  Blocks headroom(const SequenceGroup& group, Blocks exact) const;
  /// Preempts the last running groups if the first group that does not run goes before them, lacks room, and
  /// has enough without them.
  void displace(const Queues& queues, StepPlan& plan);
  /// Whether a group that does not run would be let in, were it asked first.
  bool has_room(const SequenceGroup& group);
  /// What a running group leaves behind, and what is left of the running groups, if it is preempted.
  void give_up_room(const SequenceGroup& group);
  void find_keepers(const Queues& queues);
  void walk_running(StepPlan& plan);
  void walk_swapped(const Queues& queues, StepPlan& plan);
  void walk_waiting(const Queues& queues, StepPlan& plan);
  /// Preempts until running_[place] can append; false if it was itself preempted.
  bool make_room(std::size_t place, Blocks exact, Blocks wanted, StepPlan& plan);
  void preempt(std::size_t place, const Victim& victim, StepPlan& plan);
  /// The preemption policy's answer for running_[first] and those behind it, checked.
  Victim choose_victim(std::size_t first, Blocks wanted);
  /// Leading blocks that a victim keeps, which may be fewer than the policy says.
  Blocks kept_by(const SequenceGroup& group, const Victim& victim) const;
  /// Takes blocks that waiting groups kept, the last group's first, but not those of `spared`, until so many
  /// are free or there are no more.
  void reclaim(Blocks wanted, const SequenceGroup* spared, StepPlan& plan);
  /// Free blocks, and those that waiting groups but `spared` kept.
  Blocks obtainable(const SequenceGroup* spared) const;
  /// Whether so many blocks are free, or can be and now are.
  bool make_free(Blocks wanted, const SequenceGroup* spared, StepPlan& plan);
  /// The batching policy's answer for a group, checked.
  Tokens grant(const SequenceGroup& group, Stage stage);
  /// Takes the group that grant() was last asked for into the step.
  void take(DecisionKind kind, SequenceGroup& group, Tokens tokens, const char* reason, StepPlan& plan);
  /// Starts a plan's account of what is about to be computed and shared.
  void note_prefills();
  /// Lets a group that is admitted begin with what look_up() found.
  void share_cached(SequenceGroup& group);
  /// Whether a group in this step is about to compute what a waiting one would compute first.
  bool awaited(const SequenceGroup& group) const;
  /// Notes what a group in this step will compute first, for awaited().
  void await(const SequenceGroup& group);
  /// Blocks that bringing back a swapped group takes, with those for its next `tokens` and headroom.
  Blocks blocks_to_swap_in(const SequenceGroup& group, Blocks exact);
  /// Ends the run if a group finds no room although nothing runs: it was accepted because it fits alone.
  void require_room_alone(const SequenceGroup& group, Blocks need) const;
  /// Free blocks that must be there for a group that takes `need` of them to come in.
  Blocks with_watermark(Blocks need) const;
  /// Whether there are runs for a group besides those of the groups admitted so far in this plan.
  bool runs_fit(const SequenceGroup& group);
  [[noreturn]] void broken(std::string_view axis, const std::string& name, const std::string& rule) const;
  /// Of the exception that is being handled.
  [[noreturn]] void policy_threw(std::string_view axis, const std::string& name) const;
  [[noreturn]] void broken_grant(const SequenceGroup& group, Tokens granted, Tokens offered) const;
  [[noreturn]] void broken_headroom(const SequenceGroup& group, Blocks wanted, Blocks exact) const;
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
  bool displaces_ = false;  ///< what the scheduling policy says in this plan
  Tokens pending_;          ///< of the group that grant() was last asked for
  bool decoding_ = false;   ///< whether that group decodes
  std::size_t swapped_left_ = 0;
  std::vector<SequenceGroup*> running_;  ///< not preempted in this plan
  std::vector<GroupView> candidates_;
  std::vector<Blocks> runs_;            ///< of the groups admitted
  std::vector<std::uint64_t> awaited_;  ///< KvManager::next_content of those that compute prompts
  std::vector<Decision> shares_;        ///< go first, so that nothing evicts what is shared
  std::vector<Keeper> keepers_;         ///< in scheduling order
};

template <class Policy, class Ask>
auto Scheduler::ask(const PolicySet::Choice<Policy>& choice, Ask&& question) const {
  ++choice.asked;
  try {
    return question(*choice);
  } catch (...) {
    policy_threw(Axis<Policy>::name, choice.name);
  }
}

// The questions of every running group and step, here so that the walks over the queues contain them.

inline Tokens Scheduler::grant(const SequenceGroup& group, Stage stage) {
  const Tokens pending = group.pending();
  const bool decoding = group.decoding(pending);
  const Tokens offered = kv_.drops_tokens() ? std::min(pending, kv_.most_at_once(group)) : pending;
  const BatchCandidate candidate{GroupView(group), stage, offered, decoding};
  pending_ = pending;
  decoding_ = decoding;
  const Tokens granted =
      ask(policies_.batching, [&](BatchingPolicy& p) { return p.grant(candidate, so_far_); });
  if (granted == pending && granted == offered) {
    return granted;
  }
  if (granted < Tokens(0) || granted > offered) {
    broken_grant(group, granted, offered);
  }
  // The last token of every sequence is computed only together with the others', so a part of the pending
  // tokens is at most all but one per sequence.
  return std::min(granted, pending - Tokens(static_cast<std::int64_t>(group.live.size())));
}

inline Blocks Scheduler::headroom(const SequenceGroup& group, Blocks exact) const {
  const Blocks wanted = ask(policies_.allocation,
                            [&](AllocationPolicy& p) { return p.append_headroom(GroupView(group), exact); });
  if (wanted < exact) {
    broken_headroom(group, wanted, exact);
  }
  return wanted;
}

}  // namespace pagelab
