#include "core/scheduler.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "core/emplace.h"
#include "core/error.h"
#include "core/prefetch.h"

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

void Scheduler::broken(std::string_view axis, const std::string& name, const std::string& rule) const {
  throw PolicyError(fmt::format("policy {}/{}, step {}: {}", axis, name, step_, rule));
}

template <class Policy, class Ask>
auto Scheduler::ask(const PolicySet::Choice<Policy>& choice, Ask&& question) const {
  ++choice.asked;
  try {
    return ask_policy(Axis<Policy>::name, [&] { return question(*choice); });
  } catch (const BrokenRule& rule) {
    broken(Axis<Policy>::name, choice.name, rule.what());
  }
}

void Scheduler::arrive(SequenceGroup& group, Seconds now, std::int64_t step) {
  step_ = step;
  ask(policies_.scheduling, [&](SchedulingPolicy& p) { p.arrived(GroupView(group), now); });
  rank(group, now);
}

void Scheduler::served(const StepPlan& plan, Seconds began, Seconds ended) {
  if (!policies_.scheduling->keys_change()) {
    return;
  }
  for (const Decision& decision : plan.decisions) {
    const bool takes_part = decision.kind == DecisionKind::admit || decision.kind == DecisionKind::proceed ||
                            decision.kind == DecisionKind::swap_in;
    if (takes_part) {
      const Tokens none;
      const Service service{.prefill = decision.decoding ? none : decision.tokens,
                            .decode = decision.decoding ? decision.tokens : none,
                            .began = began,
                            .ended = ended};
      ask(policies_.scheduling, [&](SchedulingPolicy& p) { p.served(GroupView(*decision.group), service); });
    }
  }
}

void Scheduler::ended(const SequenceGroup& group, Seconds now) {
  ask(policies_.scheduling, [&](SchedulingPolicy& p) { p.ended(GroupView(group), now); });
}

void Scheduler::rank(SequenceGroup& group, Seconds now) {
  group.key = ask(policies_.scheduling, [&](SchedulingPolicy& p) { return p.key(GroupView(group), now); });
  if (std::isnan(group.key)) {
    broken("scheduling", policies_.scheduling.name,
           fmt::format("the key of request {} is not a number", group.request.id.value()));
  }
}

void Scheduler::refresh_keys(Queues& queues, Seconds now) {
  if (kv_.caches() && ask(policies_.scheduling, [](SchedulingPolicy& p) { return p.reads_cache(); })) {
    for (SequenceGroup* group : queues.waiting) {
      kv_.look_up(*group);
    }
  }
  const auto refresh = [&](auto& queue) {
    for (SequenceGroup* group : queue) {
      rank(*group, now);
    }
    if (!std::is_sorted(queue.begin(), queue.end(), goes_before)) {  // mostly it still is
      std::sort(queue.begin(), queue.end(), goes_before);
    }
  };
  refresh(queues.running);
  refresh(queues.swapped);
  refresh(queues.waiting);
}

void Scheduler::plan(Queues& queues, Seconds now, std::int64_t step, StepPlan& plan) {
  plan.clear();
  step_ = step;
  if (ask(policies_.scheduling, [](SchedulingPolicy& p) { return p.keys_change(); })) {
    refresh_keys(queues, now);
  }
  so_far_ = {};
  free_ = kv_.obtainable();
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
  if (ask(policies_.scheduling, [](SchedulingPolicy& p) { return p.displaces(); })) {
    displace(queues, plan);
  }
  note_prefills();
  for (const Stage stage : stages()) {
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

std::array<Stage, 3> Scheduler::stages() const {
  const std::array<Stage, 3> order = ask(policies_.batching, [](BatchingPolicy& p) { return p.stages(); });
  for (const Stage stage : {Stage::running, Stage::swapped, Stage::waiting}) {
    if (std::ranges::count(order, stage) != 1) {
      broken("batching", policies_.batching.name,
             "its stages are not running, swapped and waiting, each of them once");
    }
  }
  return order;
}

Blocks Scheduler::headroom(const SequenceGroup& group, Blocks exact) const {
  const Blocks wanted = ask(policies_.allocation,
                            [&](AllocationPolicy& p) { return p.append_headroom(GroupView(group), exact); });
  if (wanted < exact) {
    broken("allocation", policies_.allocation.name,
           fmt::format("its headroom for request {} is {} blocks, which needs {}", group.request.id.value(),
                       wanted.value(), exact.value()));
  }
  return wanted;
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
    broken("batching", policies_.batching.name,
           fmt::format("it granted request {} {} tokens of {} pending", group.request.id.value(),
                       granted.value(), offered.value()));
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
    const Blocks wanted = headroom(group, exact);
    if (free_ < wanted && !make_room(place, exact, wanted, plan)) {
      continue;  // it gave way itself; the next group has its place now
    }
    free_ -= exact;
    take(DecisionKind::proceed, group, tokens, "it runs", plan);
    ++place;
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

void Scheduler::walk_swapped(const Queues& queues, StepPlan& plan) {
  const bool displaces = policies_.scheduling->displaces();
  for (std::size_t i = 0; i < queues.swapped.size() && !preempted_; ++i) {
    SequenceGroup& group = *queues.swapped[i];
    if (displaces && !queues.waiting.empty() && goes_before(queues.waiting.front(), &group)) {
      break;
    }
    const Tokens tokens = grant(group, Stage::swapped);
    if (tokens == Tokens(0)) {
      break;
    }
    const Blocks exact = kv_.blocks_to_append(group, tokens);
    if (!make_free(with_watermark(blocks_to_swap_in(group, exact)), nullptr, plan)) {
      break;
    }
    free_ -= kv_.blocks_held(group) + exact;
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
  if (preempted_) {
    return;
  }
  const SequenceGroup* const swapped =
      swapped_left_ == 0 ? nullptr : queues.swapped[queues.swapped.size() - swapped_left_];
  const bool displaces = policies_.scheduling->displaces();
  for (SequenceGroup* group : queues.waiting) {
    if (swapped != nullptr && !(displaces && goes_before(group, swapped))) {
      break;
    }
    if (kv_.caches()) {
      kv_.look_up(*group);
      if (awaited(*group)) {
        continue;  // computed once, for all that begin with it
      }
    }
    const auto keeper = std::ranges::find(keepers_, group, &Keeper::group);
    if (keeper != keepers_.end() && keeper->trimmed) {
      break;  // what it needs is known when this plan is applied
    }
    const Tokens tokens = grant(*group, Stage::waiting);
    if (tokens == Tokens(0)) {
      break;
    }
    Blocks set_aside;
    const Blocks need = kv_.blocks_to_admit(*group, &set_aside);
    if (!make_free(with_watermark(need), group, plan) || !runs_fit(*group)) {
      require_room_alone(*group, need);
      break;
    }
    free_ -= need;
    if (keeper != keepers_.end()) {
      keepers_.erase(keeper);  // it uses them itself now
    }
    if (kv_.caches()) {
      share_cached(*group);
    }
    take(DecisionKind::admit, *group, tokens, "its turn, and there is room", plan);
    plan.decisions.back().blocks = set_aside;
  }
}

}  // namespace pagelab
