#include "core/scheduler.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "core/emplace.h"
#include "core/error.h"
#include "core/prefetch.h"

namespace pagelab {

void Scheduler::broken(std::string_view axis, const std::string& name, const std::string& rule) const {
  throw PolicyError(fmt::format("policy {}/{}, step {}: {}", axis, name, step_, rule));
}

template <class Policy, class Ask>
auto Scheduler::ask(const PolicySet::Choice<Policy>& choice, Ask&& question) const {
  try {
    return question(*choice);
  } catch (const std::exception& error) {
    broken(Axis<Policy>::name, choice.name, fmt::format("it threw '{}'", error.what()));
  }
}

void Scheduler::rank(SequenceGroup& group, Seconds now, std::int64_t step) {
  step_ = step;
  group.key = ask(policies_.scheduling, [&](SchedulingPolicy& p) { return p.key(GroupView(group), now); });
  if (std::isnan(group.key)) {
    broken("scheduling", policies_.scheduling.name,
           fmt::format("the key of request {} is not a number", group.request.id.value()));
  }
}

void Scheduler::refresh_keys(Queues& queues, Seconds now) {
  const auto refresh = [&](auto& queue) {
    for (SequenceGroup* group : queue) {
      rank(*group, now, step_);
    }
    std::sort(queue.begin(), queue.end(), goes_before);
  };
  refresh(queues.running);
  refresh(queues.swapped);
  refresh(queues.waiting);
}

void Scheduler::plan(Queues& queues, Seconds now, std::int64_t step, StepPlan& plan) {
  plan.clear();
  step_ = step;
  if (policies_.scheduling->keys_change()) {
    refresh_keys(queues, now);
  }
  so_far_ = {};
  free_ = kv_.device().free();
  host_free_ = kv_.host().free();
  preempted_ = false;
  swapped_left_ = queues.swapped.size();
  runs_.clear();
  find_keepers(queues);
  running_ = queues.running;
  for (const SequenceGroup* group : running_) {
    ++so_far_.running_groups;
    so_far_.running_sequences += group->width();
  }
  for (const Stage stage : ask(policies_.batching, [](BatchingPolicy& p) { return p.stages(); })) {
    switch (stage) {
      case Stage::running:
        walk_running(plan);
        break;
      case Stage::swapped:
        walk_swapped(queues, plan);
        break;
      case Stage::waiting:
        walk_waiting(queues, plan);
        break;
    }
  }
  if (so_far_.groups == 0 && !preempted_ && !queues.empty()) {
    broken("batching", policies_.batching.name, "groups are there to run and none got a token");
  }
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

inline Tokens Scheduler::grant(const SequenceGroup& group, Stage stage) {
  const Tokens pending = group.pending();
  const bool decoding = group.decoding(pending);
  const BatchCandidate candidate{GroupView(group), stage, pending, decoding};
  pending_ = pending;
  decoding_ = decoding;
  const Tokens granted =
      ask(policies_.batching, [&](BatchingPolicy& p) { return p.grant(candidate, so_far_); });
  if (granted == pending) {
    return granted;
  }
  if (granted < Tokens(0) || granted > pending) {
    broken("batching", policies_.batching.name,
           fmt::format("it granted request {} {} tokens of {} pending", group.request.id.value(),
                       granted.value(), pending.value()));
  }
  // The last token of every sequence is computed only together with the others', so a part of the pending
  // tokens is at most all but one per sequence.
  return std::min(granted, pending - Tokens(static_cast<std::int64_t>(group.live.size())));
}

inline void Scheduler::take(DecisionKind kind, SequenceGroup& group, Tokens tokens, const char* reason,
                            StepPlan& plan) {
  so_far_.tokens += tokens;
  ++so_far_.groups;
  so_far_.prefills += decoding_ ? 0 : 1;
  if (kind != DecisionKind::proceed) {
    ++so_far_.running_groups;
    so_far_.running_sequences += group.width();
  }
  emplace(plan.decisions) = {.kind = kind,
                             .group = &group,
                             .tokens = tokens,
                             .reason = reason,
                             .decoding = decoding_,
                             .completes = tokens == pending_};
}

void Scheduler::walk_running(StepPlan& plan) {
  for (std::size_t place = 0; place < running_.size();) {
    SequenceGroup& group = *running_[place];
    if (place + groups_ahead < running_.size()) {
      prefetch_sequence(*running_[place + groups_ahead]);
    }
    const Tokens tokens = grant(group, Stage::running);
    if (tokens == Tokens(0)) {
      ++place;
      continue;
    }
    const Blocks exact = kv_.blocks_to_append(group, tokens);
    const Blocks headroom = ask(policies_.allocation, [&](AllocationPolicy& p) {
      return p.append_headroom(GroupView(group), exact);
    });
    if (free_ < std::max(headroom, exact) && !make_room(place, exact, headroom, plan)) {
      continue;  // it gave way itself; the next group has its place now
    }
    free_ -= exact;
    take(DecisionKind::proceed, group, tokens, "it runs", plan);
    ++place;
  }
}

bool Scheduler::make_room(std::size_t place, Blocks exact, Blocks headroom, StepPlan& plan) {
  SequenceGroup* const group = running_[place];
  for (;;) {
    const bool alone = running_.size() == 1 && so_far_.groups == 0;
    const Blocks wanted = alone ? exact : std::max(headroom, exact);
    reclaim(wanted, nullptr, plan);
    if (free_ >= wanted) {
      return true;
    }
    PAGELAB_INVARIANT(!alone, fmt::format("request {} runs alone, needs {} blocks and finds {}",
                                          group->request.id.value(), exact.value(), free_.value()));
    const bool first_of_all = place == 0 && running_.size() > 1;
    const std::size_t first = first_of_all ? 1 : place;
    const Victim victim = choose_victim(first, wanted);
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
  const Blocks keep = kv_.in_runs() ? Blocks(0) : std::min(victim.keep, whole);
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
  free_ += keep > Blocks(0) ? held - keep : freed;
  if (keep > Blocks(0)) {
    const Keeper keeper{group, keep, freed - (held - keep)};
    const auto behind = [](const Keeper& a, const Keeper& b) { return goes_before(a.group, b.group); };
    keepers_.insert(std::ranges::upper_bound(keepers_, keeper, behind), keeper);
  }
  preempted_ = true;
  --so_far_.running_groups;
  so_far_.running_sequences -= group->width();
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

bool Scheduler::make_free(Blocks wanted, const SequenceGroup* spared, StepPlan& plan) {
  Blocks possible = free_;
  for (const Keeper& keeper : keepers_) {
    possible += keeper.group == spared ? Blocks(0) : keeper.freed;
  }
  if (possible < wanted) {
    return false;
  }
  reclaim(wanted, spared, plan);
  return true;
}

Blocks Scheduler::with_watermark(Blocks need) const {
  if (so_far_.running_groups == 0) {
    return need;
  }
  return need +
         ask(policies_.allocation, [&](AllocationPolicy& p) { return p.watermark(kv_.device().capacity()); });
}

bool Scheduler::runs_fit(const SequenceGroup& group) {
  if (!kv_.in_runs()) {
    return true;
  }
  kv_.append_runs(group, runs_);
  return kv_.runs_fit(runs_);
}

void Scheduler::walk_swapped(const Queues& queues, StepPlan& plan) {
  for (std::size_t i = 0; i < queues.swapped.size() && !preempted_; ++i) {
    SequenceGroup& group = *queues.swapped[i];
    const Tokens tokens = grant(group, Stage::swapped);
    if (tokens == Tokens(0)) {
      break;
    }
    const Blocks held = kv_.blocks_held(group);
    const Blocks exact = kv_.blocks_to_append(group, tokens);
    const Blocks headroom = ask(policies_.allocation, [&](AllocationPolicy& p) {
      return p.append_headroom(GroupView(group), exact);
    });
    const bool alone = so_far_.running_groups == 0;
    if (!make_free(with_watermark(held + (alone ? exact : std::max(headroom, exact))), nullptr, plan)) {
      break;
    }
    free_ -= held + exact;
    --swapped_left_;
    take(DecisionKind::swap_in, group, tokens, "there is room again", plan);
  }
}

void Scheduler::walk_waiting(const Queues& queues, StepPlan& plan) {
  if (preempted_ || swapped_left_ > 0) {
    return;
  }
  for (SequenceGroup* group : queues.waiting) {
    const auto keeper = std::ranges::find(keepers_, group, &Keeper::group);
    if (keeper != keepers_.end() && keeper->trimmed) {
      break;  // what it needs is known when this plan is applied
    }
    const Tokens tokens = grant(*group, Stage::waiting);
    if (tokens == Tokens(0)) {
      break;
    }
    const Blocks need = kv_.blocks_to_admit(*group);
    if (!make_free(with_watermark(need), group, plan) || !runs_fit(*group)) {
      break;
    }
    free_ -= need;
    if (keeper != keepers_.end()) {
      keepers_.erase(keeper);  // it uses them itself now
    }
    take(DecisionKind::admit, *group, tokens, "its turn, and there is room", plan);
  }
}

}  // namespace pagelab
