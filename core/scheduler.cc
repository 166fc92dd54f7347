#include "core/scheduler.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "core/emplace.h"
#include "core/error.h"
#include "core/prefetch.h"

namespace pagelab {

Scheduler::Scheduler(PolicySet& policies, const KvManager& kv, const Device& device)
    : policies_(policies), kv_(kv), preemption_view_(kv, device) {
  ask(policies_.preemption, [this](PreemptionPolicy& p) { p.start(preemption_view_); });
}

void Scheduler::broken(std::string_view axis, const std::string& name, const std::string& rule) const {
  throw PolicyError(fmt::format("policy {}/{}, step {}: {}", axis, name, step_, rule));
}

void Scheduler::policy_threw(std::string_view axis, const std::string& name) const {
  try {
    rethrow_broken(axis);
  } catch (const BrokenRule& rule) {
    broken(axis, name, rule.what());
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
    if (computes(decision)) {
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
  displaces_ = ask(policies_.scheduling, [](SchedulingPolicy& p) { return p.displaces(); });
  if (displaces_) {
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

void Scheduler::broken_grant(const SequenceGroup& group, Tokens granted, Tokens offered) const {
  broken("batching", policies_.batching.name,
         fmt::format("it granted request {} {} tokens of {} pending", group.request.id.value(),
                     granted.value(), offered.value()));
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

void Scheduler::walk_swapped(const Queues& queues, StepPlan& plan) {
  for (std::size_t i = 0; i < queues.swapped.size() && !preempted_; ++i) {
    SequenceGroup& group = *queues.swapped[i];
    if (displaces_ && !queues.waiting.empty() && goes_before(queues.waiting.front(), &group)) {
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
  for (SequenceGroup* group : queues.waiting) {
    if (swapped != nullptr && !(displaces_ && goes_before(group, swapped))) {
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
