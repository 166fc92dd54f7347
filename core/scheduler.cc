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
  free_ = kv_.obtainable();
  host_free_ = kv_.host().free();
  preempted_ = false;
  swapped_left_ = queues.swapped.size();
  runs_.clear();
  running_ = queues.running;
  for (const SequenceGroup* group : running_) {
    ++so_far_.running_groups;
    so_far_.running_sequences += group->width();
  }
  note_prefills();
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
  plan.decisions.insert(plan.decisions.begin(), shares_.begin(), shares_.end());
  if (so_far_.groups == 0 && !preempted_ && !queues.empty()) {
    broken("batching", policies_.batching.name, "groups are there to run and none got a token");
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
    if (free_ >= (alone ? exact : std::max(headroom, exact))) {
      return true;
    }
    PAGELAB_INVARIANT(!alone, fmt::format("request {} runs alone, needs {} blocks and finds {}",
                                          group->request.id.value(), exact.value(), free_.value()));
    candidates_.clear();
    for (std::size_t i = place; i < running_.size(); ++i) {
      candidates_.emplace_back(*running_[i]);
    }
    const Victim victim =
        ask(policies_.preemption, [&](PreemptionPolicy& p) { return p.choose(candidates_); });
    if (victim.index >= candidates_.size()) {
      broken("preemption", policies_.preemption.name,
             fmt::format("it chose candidate {} of {}", victim.index, candidates_.size()));
    }
    preempt(place + victim.index, victim, plan);
    if (victim.index == 0) {
      return false;
    }
  }
}

void Scheduler::preempt(std::size_t place, const Victim& victim, StepPlan& plan) {
  SequenceGroup* const group = running_[place];
  const Blocks held = kv_.blocks_held(*group);
  const bool swappable = !kv_.in_runs() && held <= host_free_;
  const bool swap = victim.mode == PreemptionMode::swap && swappable;
  host_free_ -= swap ? held : Blocks(0);
  free_ += kv_.blocks_freed(*group);
  preempted_ = true;
  --so_far_.running_groups;
  so_far_.running_sequences -= group->width();
  plan.decisions.push_back({swap ? DecisionKind::preempt_swap : DecisionKind::preempt_recompute, group, -1,
                            Tokens(0),
                            swap || victim.mode == PreemptionMode::recompute ? victim.reason
                            : kv_.in_runs()                                  ? "runs are not swapped"
                                                                             : "the host pool is full"});
  running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(place));
}

bool Scheduler::fits_with_watermark(Blocks need) const {
  if (so_far_.running_groups == 0) {
    return need <= free_;
  }
  const Blocks kept =
      ask(policies_.allocation, [&](AllocationPolicy& p) { return p.watermark(kv_.device().capacity()); });
  return free_ - need >= kept;
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
    if (!fits_with_watermark(held + (alone ? exact : std::max(headroom, exact)))) {
      break;
    }
    free_ -= held + exact;
    --swapped_left_;
    take(DecisionKind::swap_in, group, tokens, "there is room again", plan);
  }
}

void Scheduler::note_prefills() {
  shares_.clear();
  awaited_.clear();
  if (!kv_.caches()) {
    return;
  }
  for (const SequenceGroup* group : running_) {
    if (group->live.front().pending() > Tokens(1)) {
      await(*group);
    }
  }
}

void Scheduler::await(const SequenceGroup& group) {
  if (const auto content = kv_.next_content(group)) {
    awaited_.push_back(*content);
  }
}

bool Scheduler::awaited(const SequenceGroup& group) const {
  const auto content = kv_.next_content(group);
  return content && std::ranges::find(awaited_, *content) != awaited_.end();
}

void Scheduler::share_cached(SequenceGroup& group) {
  const Tokens found = group.live.front().shared;
  if (found > Tokens(0)) {
    shares_.push_back({.kind = DecisionKind::share,
                       .group = &group,
                       .sequence = 0,
                       .tokens = found,
                       .reason = "its prompt begins with cached blocks"});
  }
  await(group);
}

void Scheduler::walk_waiting(const Queues& queues, StepPlan& plan) {
  if (preempted_ || swapped_left_ > 0) {
    return;
  }
  for (SequenceGroup* group : queues.waiting) {
    if (kv_.caches()) {
      kv_.look_up(*group);
      if (awaited(*group)) {
        continue;  // computed once, for all that begin with it
      }
    }
    const Tokens tokens = grant(*group, Stage::waiting);
    if (tokens == Tokens(0)) {
      break;
    }
    const Blocks need = kv_.blocks_to_admit(*group);
    if (!fits_with_watermark(need) || !runs_fit(*group)) {
      break;
    }
    free_ -= need;
    if (kv_.caches()) {
      share_cached(*group);
    }
    take(DecisionKind::admit, *group, tokens, "its turn, and there is room", plan);
  }
}

}  // namespace pagelab
