// The part of the scheduler that finds room: who gives way when blocks lack, what waiting groups kept is
// taken back, which running groups are displaced, and whether a group that does not run fits.
#include <algorithm>

#include <fmt/format.h>

#include "core/error.h"
#include "core/scheduler.h"

namespace pagelab {

namespace {

/// The first in scheduling order of the groups that do not run; null if there is none.
SequenceGroup* first_to_come(const Queues& queues) {
  SequenceGroup* const waiting = queues.waiting.empty() ? nullptr : queues.waiting.front();
  SequenceGroup* const swapped = queues.swapped.empty() ? nullptr : queues.swapped.front();
  const bool swapped_first = swapped != nullptr && (waiting == nullptr || goes_before(swapped, waiting));
  return swapped_first ? swapped : waiting;
}

}  // namespace

void Scheduler::broken_headroom(const SequenceGroup& group, Blocks wanted, Blocks exact) const {
  broken("allocation", policies_.allocation.name,
         fmt::format("its headroom for request {} is {} blocks, which needs {}", group.request.id.value(),
                     wanted.value(), exact.value()));
}

void Scheduler::displace(const Queues& queues, StepPlan& plan) {
  SequenceGroup* const next = first_to_come(queues);
  if (next == nullptr || running_.empty() || !goes_before(next, running_.back()) || kv_.in_runs() ||
      ask(policies_.batching, [](BatchingPolicy& p) { return p.ends_together(); })) {
    return;
  }
  if (kv_.caches() && next->state == GroupState::waiting) {
    kv_.look_up(*next);
  }
  const StepSoFar so_far = so_far_;
  const Blocks free = free_;
  std::size_t kept = running_.size();
  bool enough = has_room(*next);
  while (!enough && kept > 0 && running_[kept - 1]->settled && goes_before(next, running_[kept - 1])) {
    give_up_room(*running_[--kept]);
    enough = has_room(*next);
  }
  so_far_ = so_far;
  free_ = free;
  while (enough && running_.size() > kept) {
    const std::size_t last = running_.size() - 1;
    Victim victim = choose_victim(last, free_ + kv_.blocks_held(*running_[last]));
    victim.keep = Blocks(0);
    victim.reason = "a group that goes before it takes its place";
    preempt(last, victim, plan);
  }
}

bool Scheduler::has_room(const SequenceGroup& group) {
  const bool swapped = group.state == GroupState::swapped;
  const Tokens tokens = grant(group, swapped ? Stage::swapped : Stage::waiting);
  if (tokens == Tokens(0)) {
    return false;
  }
  const Blocks need =
      swapped ? blocks_to_swap_in(group, kv_.blocks_to_append(group, tokens)) : kv_.blocks_to_admit(group);
  return with_watermark(need) <= obtainable(&group);
}

void Scheduler::give_up_room(const SequenceGroup& group) {
  free_ += kv_.blocks_freed(group);
  --so_far_.running_groups;
  so_far_.running_sequences -= group.width();
}

void Scheduler::find_keepers(const Queues& queues) {
  keepers_.clear();
  if (kv_.kept() == Blocks(0)) {
    return;
  }
  for (SequenceGroup* group : queues.waiting) {
    if (const Blocks kept = kv_.blocks_held(*group); kept > Blocks(0)) {
      keepers_.push_back({group, kept, kv_.blocks_freed(*group)});
    }
  }
}

bool Scheduler::make_room(std::size_t place, Blocks exact, Blocks wanted, StepPlan& plan) {
  SequenceGroup* const group = running_[place];
  for (;;) {
    const bool alone = running_.size() == 1 && so_far_.groups == 0;
    const Blocks needed = alone ? exact : wanted;
    reclaim(needed, nullptr, plan);
    if (free_ >= needed) {
      return true;
    }
    PAGELAB_INVARIANT(!alone, fmt::format("request {} runs alone, needs {} blocks and finds {}",
                                          group->request.id.value(), exact.value(), free_.value()));
    const bool first_of_all = place == 0 && running_.size() > 1;
    const std::size_t first = first_of_all ? 1 : place;
    const Victim victim = choose_victim(first, needed);
    preempt(first + victim.index, victim, plan);
    if (first + victim.index == place) {
      return false;
    }
  }
}

Victim Scheduler::choose_victim(std::size_t first, Blocks wanted) {
  candidates_.clear();
  for (std::size_t i = first; i < running_.size(); ++i) {
    candidates_.emplace_back(*running_[i]);
  }
  preemption_view_.lacking_ = wanted - free_;
  preemption_view_.host_free_ = host_free_;
  const Victim victim = ask(policies_.preemption, [&](PreemptionPolicy& p) { return p.choose(candidates_); });
  if (victim.index >= candidates_.size()) {
    broken("preemption", policies_.preemption.name,
           fmt::format("it chose candidate {} of {}", victim.index, candidates_.size()));
  }
  if (victim.reason == nullptr) {
    broken("preemption", policies_.preemption.name, "it gave no reason, not even an empty one");
  }
  const SequenceGroup& group = *running_[first + victim.index];
  const bool may_keep = victim.mode == PreemptionMode::recompute && group.live.size() == 1;
  const Blocks held = kv_.blocks_held(group);
  if (victim.keep < Blocks(0) || victim.keep > (may_keep ? held - Blocks(1) : Blocks(0))) {
    broken("preemption", policies_.preemption.name,
           fmt::format("it lets request {} keep {} of {} blocks; only a group of one sequence that is "
                       "recomputed may keep some, and not all",
                       group.request.id.value(), victim.keep.value(), held.value()));
  }
  return victim;
}

Blocks Scheduler::kept_by(const SequenceGroup& group, const Victim& victim) const {
  const Blocks whole(group.live.front().computed / kv_.block_size());
  const bool possible =
      !kv_.in_runs() && !kv_.drops_tokens() && !kv_.caches();  // cached blocks are found again anyway
  const Blocks keep = possible ? std::min(victim.keep, whole) : Blocks(0);
  const Blocks others = kv_.blocks_held(group) - kv_.blocks_freed(group);  // stay whatever becomes of it
  return keep > others ? keep : Blocks(0);
}

void Scheduler::preempt(std::size_t place, const Victim& victim, StepPlan& plan) {
  SequenceGroup* const group = running_[place];
  const Blocks held = kv_.blocks_held(*group);
  const bool swappable = !kv_.in_runs() && held <= host_free_;
  const bool swap = victim.mode == PreemptionMode::swap && swappable;
  const Blocks keep = kept_by(*group, victim);
  const Blocks freed = kv_.blocks_freed(*group);
  host_free_ -= swap ? held : Blocks(0);
  give_up_room(*group);
  if (keep > Blocks(0)) {
    free_ -= freed - (held - keep);
    const Keeper keeper{group, keep, freed - (held - keep)};
    const auto behind = [](const Keeper& a, const Keeper& b) { return goes_before(a.group, b.group); };
    keepers_.insert(std::ranges::upper_bound(keepers_, keeper, behind), keeper);
  }
  preempted_ = true;
  plan.decisions.push_back({.kind = swap ? DecisionKind::preempt_swap : DecisionKind::preempt_recompute,
                            .group = group,
                            .reason = swap || victim.mode == PreemptionMode::recompute ? victim.reason
                                      : kv_.in_runs() ? "runs are not swapped"
                                                      : "the host pool is full",
                            .keep = keep});
  running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(place));
}

void Scheduler::reclaim(Blocks wanted, const SequenceGroup* spared, StepPlan& plan) {
  for (std::size_t i = keepers_.size(); i-- > 0 && free_ < wanted;) {
    Keeper& keeper = keepers_[i];
    if (keeper.group == spared || keeper.freed == Blocks(0)) {
      continue;
    }
    const Blocks freed = std::min(keeper.freed, wanted - free_);
    free_ += freed;
    keeper.freed -= freed;
    keeper.kept = keeper.freed > Blocks(0) ? keeper.kept - freed : Blocks(0);
    keeper.trimmed = true;
    plan.decisions.push_back({.kind = DecisionKind::trim,
                              .group = keeper.group,
                              .reason = "blocks kept by a waiting group are needed",
                              .keep = keeper.kept});
  }
}

Blocks Scheduler::obtainable(const SequenceGroup* spared) const {
  Blocks possible = free_;
  for (const Keeper& keeper : keepers_) {
    possible += keeper.group == spared ? Blocks(0) : keeper.freed;
  }
  return possible;
}

bool Scheduler::make_free(Blocks wanted, const SequenceGroup* spared, StepPlan& plan) {
  if (obtainable(spared) < wanted) {
    return false;
  }
  reclaim(wanted, spared, plan);
  return true;
}

Blocks Scheduler::with_watermark(Blocks need) const {
  if (so_far_.running_groups == 0) {
    return need;
  }
  const Blocks kept =
      ask(policies_.allocation, [&](AllocationPolicy& p) { return p.watermark(kv_.device().capacity()); });
  if (kept < Blocks(0)) {
    broken("allocation", policies_.allocation.name,
           fmt::format("its watermark is {} blocks; none is the least", kept.value()));
  }
  return need + kept;
}

void Scheduler::require_room_alone(const SequenceGroup& group, Blocks need) const {
  if (so_far_.running_groups == 0) {
    broken(
        "allocation", policies_.allocation.name,
        fmt::format("request {} was accepted, and now that nothing runs there is no room for the {} blocks "
                    "that it is to get, of {} free ones",
                    group.request.id.value(), need.value(), free_.value()));
  }
}

bool Scheduler::runs_fit(const SequenceGroup& group) {
  if (!kv_.in_runs()) {
    return true;
  }
  kv_.append_runs(group, runs_);
  return kv_.runs_fit(runs_);
}

Blocks Scheduler::blocks_to_swap_in(const SequenceGroup& group, Blocks exact) {
  const Blocks wanted = headroom(group, exact);
  const bool alone = so_far_.running_groups == 0;
  return kv_.blocks_held(group) + (alone ? exact : wanted);
}

}  // namespace pagelab
