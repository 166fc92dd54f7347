#include "core/engine.h"

#include <algorithm>
#include <iterator>

#include <fmt/format.h>

#include "core/emplace.h"
#include "core/error.h"
#include "core/prefetch.h"
#include "core/step_batch.h"

namespace pagelab {

namespace {

template <class Queue>
void insert_in_order(Queue& queue, SequenceGroup* group) {
  queue.insert(std::upper_bound(queue.begin(), queue.end(), group, goes_before), group);
}

template <class Queue>
void remove(Queue& queue, SequenceGroup* group) {
  queue.erase(std::find(queue.begin(), queue.end(), group));
}

}  // namespace

Engine::Engine(Device& device, Clock& clock, Workload& workload, PolicySet policies, Recorder& recorder)
    : device_(device),
      clock_(clock),
      workload_(workload),
      policies_(std::move(policies)),
      recorder_(recorder),
      kv_(make_kv()),
      scheduler_(policies_, kv_, device),
      retainer_(policies_.retention),
      capacity_(device.capacity()) {
  try {
    ends_together_ = ask_policy("batching", [&] { return policies_.batching->ends_together(); });
  } catch (const BrokenRule& broken) {
    throw named(broken);
  }
}

KvManager Engine::make_kv() {
  try {
    return KvManager(device_.capacity(), *policies_.allocation, *policies_.sharing, *policies_.eviction,
                     *policies_.retention);
  } catch (const BrokenRule& broken) {
    throw named(broken);
  }
}

PolicyError Engine::named(const BrokenRule& broken) {
  std::string name;
  policies_.for_each([&]<class Policy>(const PolicySet::Choice<Policy>& choice) {
    name = Axis<Policy>::name == broken.axis() ? choice.name : name;
  });
  return PolicyError(
      fmt::format("policy {}/{}, step {}: {}", broken.axis(), name, progress_.steps, broken.what()));
}

bool Engine::step() {
  try {
    return walk();
  } catch (const BrokenRule& broken) {
    throw named(broken);
  }
}

bool Engine::walk() {
  arrive();
  scheduler_.plan(queues_, clock_.now(), progress_.steps, plan_);
  if (plan_.empty()) {
    const auto next = workload_.next_arrival();
    if (next) {
      clock_.wait_until(*next);
    }
    return next.has_value();
  }
  record_ = {};
  record_.step = progress_.steps;
  record_.time = clock_.now();
  apply();
  device_.execute(batch_, result_);
  clear(batch_);
  clock_.advance(result_.duration);
  record_.duration = clock_.now() - record_.time;
  if (kv_.drops_tokens()) {
    retainer_.add_weights(plan_.decisions, result_.slot_weights);
  }
  const std::size_t planned = plan_.decisions.size();
  commit();
  if (kv_.drops_tokens()) {
    retain(planned);
  }
  recorder_.on_step(record_, plan_.decisions);
  forget_ended();
  ++progress_.steps;
#ifndef NDEBUG
  check_integrity();
#endif
  return true;
}

void Engine::arrive() {
  for (auto next = workload_.next_arrival(); next && *next <= clock_.now(); next = workload_.next_arrival()) {
    auto group = std::make_unique<SequenceGroup>();
    group->request = workload_.take();
    Sequence& first = group->live.emplace_back();
    first.prompt = Tokens(static_cast<std::int64_t>(group->request.prompt.size()));
    if (kv_.drops_tokens()) {
      retainer_.begin(*group, progress_.steps);
    }
    if (const std::string why = why_refused(*group); !why.empty()) {
      ++progress_.refused;
      recorder_.on_refuse(group->request, clock_.now(), why);
      workload_.on_end(group->request.id, clock_.now());
      continue;
    }
    kv_.accept(*group);
    scheduler_.arrive(*group, clock_.now(), progress_.steps);
    insert_in_order(queues_.waiting, group.get());
    group->slot = groups_.size();
    groups_.push_back(std::move(group));
  }
}

std::string Engine::why_refused(const SequenceGroup& group) const {
  const Request& request = group.request;
  if (request.prompt.empty() || request.max_output < Tokens(1)) {
    return "it needs at least one prompt token and one output token";
  }
  if (request.sampling.n < 1 ||
      (request.sampling.method == Sampling::Method::greedy && request.sampling.n != 1)) {
    return fmt::format("greedy decoding gives one sequence, not {}", request.sampling.n);
  }
  if (request.sampling.method == Sampling::Method::beam && 2 * request.sampling.n > capacity_.vocabulary) {
    return fmt::format("beam search of width {} needs {} candidates, the vocabulary has {}",
                       request.sampling.n, 2 * request.sampling.n, capacity_.vocabulary);
  }
  if (group.final_length() > capacity_.max_positions) {
    return fmt::format("{} prompt and {} output tokens need {} positions, the model has {}",
                       request.prompt.size(), request.max_output.value(), group.final_length().value(),
                       capacity_.max_positions.value());
  }
  return kv_.why_never(group);
}

void Engine::apply() {
  sampled_.clear();
  const Blocks taken_before = kv_.device().taken();
  for (std::size_t i = 0, planned = plan_.decisions.size(); i < planned; ++i) {
    const Decision decision = plan_.decisions[i];  // a copy, since copies on write are logged behind the plan
    if (i + groups_ahead < planned) {
      prefetch_ends(*plan_.decisions[i + groups_ahead].group);
    }
    SequenceGroup& group = *decision.group;
    const Tokens recomputed_before = group.recomputed;
    kv_.apply(decision, batch_, plan_.decisions);
    if (decision.kind == DecisionKind::share) {
      record_.tokens_hit += decision.tokens;
      group.hits += group.admitted < Seconds(0) ? decision.tokens : Tokens(0);
      continue;
    }
    if (decision.kind != DecisionKind::proceed) {
      change_queue(group, decision.kind);
    }
    if (!computes(decision)) {
      continue;
    }
    (decision.decoding ? record_.tokens_decode : record_.tokens_prefill) += decision.tokens;
    record_.tokens_recomputed += group.recomputed - recomputed_before;
    if (decision.completes) {
      emplace(sampled_) = {&group, batch_.candidates};
      append_samples(batch_, group);
    }
  }
  if (policies_.allocation->maps_pages()) {
    batch_.mapped = kv_.device().taken() - taken_before;
  }
  sampled_.push_back({nullptr, batch_.candidates});
  result_.candidates.resize(static_cast<std::size_t>(batch_.candidates));

  record_.slots = kv_.ledger(queues_.running);
  record_.blocks_logical = kv_.table_entries();
  record_.blocks_physical = kv_.in_use();
  record_.host_blocks_used = kv_.host().allocated();
  record_.running = static_cast<std::int32_t>(queues_.running.size());
  record_.waiting = static_cast<std::int32_t>(queues_.waiting.size());
  record_.swapped = static_cast<std::int32_t>(queues_.swapped.size());
  record_.blocks_copied = Blocks(static_cast<std::int64_t>(batch_.copies.size()));
  record_.bytes_swapped_in = static_cast<std::int64_t>(batch_.swap_in.size()) * capacity_.block_bytes;
  record_.bytes_swapped_out = static_cast<std::int64_t>(batch_.swap_out.size()) * capacity_.block_bytes;
}

void Engine::change_queue(SequenceGroup& group, DecisionKind kind) {
  switch (kind) {
    case DecisionKind::admit:
      remove(queues_.waiting, &group);
      insert_in_order(queues_.running, &group);
      group.settled = false;
      if (group.admitted < Seconds(0)) {
        group.admitted = record_.time;
        Sequence& first = group.live.front();
        const auto length = static_cast<std::size_t>(group.request.max_output.value());
        first.output.reserve(length);  // not on arrival: a long queue would hold a lot of empty memory
        first.logprobs.reserve(length);
      }
      break;
    case DecisionKind::preempt_recompute:
      remove(queues_.running, &group);
      insert_in_order(queues_.waiting, &group);
      ++group.preempted_recompute;
      ++record_.preempt_recompute;
      break;
    case DecisionKind::preempt_swap:
      remove(queues_.running, &group);
      insert_in_order(queues_.swapped, &group);
      ++group.preempted_swap;
      ++record_.preempt_swap;
      break;
    case DecisionKind::swap_in:
      remove(queues_.swapped, &group);
      insert_in_order(queues_.running, &group);
      group.settled = false;
      break;
    case DecisionKind::trim:  // it waits on
      break;
    default:
      PAGELAB_INVARIANT(false, fmt::format("a plan holds '{}'", name_of(kind)));
  }
}

inline void Engine::extend(Sequence& sequence, const TokenCandidate& token) {
  emplace(sequence.output) = token.token;
  emplace(sequence.logprobs) = token.logprob;
  sequence.score += static_cast<double>(token.logprob);
  ++progress_.tokens_produced;
}

inline void Engine::commit_samples(SequenceGroup& group, std::span<const TokenCandidate> candidates) {
  for (std::size_t sample = group.live.size(); sample < candidates.size(); ++sample) {
    carry_out(DecisionKind::fork, group, 0, "parallel samples start from one prompt");
    group.live.back().sample = static_cast<std::int32_t>(sample);
  }
  const Request& request = group.request;
  for (std::size_t i = candidates.size();
       i-- > 0;) {  // from the last, since a sequence that ends leaves `live`
    Sequence& sequence = group.live[i];
    extend(sequence, candidates[i]);
    if (!request.forced_output && candidates[i].token == request.sampling.eos) {
      end_sequence(group, i, "it produced the end-of-sequence token");
    } else if (static_cast<std::int64_t>(sequence.output.size()) == request.max_output.value()) {
      end_sequence(group, i, "it reached its length");
    }
  }
}

inline void Engine::commit_group(SequenceGroup& group, std::span<const TokenCandidate> candidates) {
  if (group.first_token < Seconds(0)) {
    group.first_token = clock_.now();
    pin_prefix(group);
  }
  group.settled = true;
  if (group.request.sampling.method == Sampling::Method::beam) {
    commit_beams(group, candidates);
  } else {
    commit_samples(group, candidates);
  }
  if (group.live.empty()) {
    end_group(group);
  }
}

void Engine::pin_prefix(SequenceGroup& group) {
  if (!kv_.may_pin(group)) {
    return;
  }
  carry_out(DecisionKind::pin_prefix, group, 0, "later requests begin with it");
  for (SequenceGroup* waiting : queues_.waiting) {
    kv_.begin_with_prefix(*waiting);
  }
}

void Engine::cache_computed() {
  const std::size_t planned = plan_.decisions.size();
  for (std::size_t i = 0; i < planned; ++i) {
    if (computes(plan_.decisions[i]) && kv_.has_unlisted(*plan_.decisions[i].group)) {
      carry_out(DecisionKind::cache, *plan_.decisions[i].group, 0, "its blocks are full");
    }
  }
}

void Engine::commit() {
  if (kv_.caches()) {
    cache_computed();
  }
  scheduler_.served(plan_, record_.time, clock_.now());
  for (std::size_t i = 0; i + 1 < sampled_.size(); ++i) {
    if (i + 1 + groups_ahead < sampled_.size()) {
      prefetch_ends(*sampled_[i + groups_ahead].group);
    }
    const auto first = static_cast<std::size_t>(sampled_[i].first);
    const auto end = static_cast<std::size_t>(sampled_[i + 1].first);
    commit_group(*sampled_[i].group, std::span(result_.candidates).subspan(first, end - first));
  }
  record_.evictions = kv_.evictions() - std::exchange(evictions_, kv_.evictions());
  record_.evicted_then_needed =
      kv_.evicted_then_needed() - std::exchange(evicted_then_needed_, kv_.evicted_then_needed());
  progress_.preemptions += record_.preempt_recompute + record_.preempt_swap;
  progress_.tokens += record_.tokens_prefill + record_.tokens_decode;
}

void Engine::retain(std::size_t planned) {
  for (std::size_t i = 0; i < planned; ++i) {
    SequenceGroup& group = *plan_.decisions[i].group;
    if (!computes(plan_.decisions[i]) || group.state != GroupState::running || !Retainer::is_full(group)) {
      continue;
    }
    retainer_.choose(group, progress_.steps);
    carry_out(DecisionKind::drop_tokens, group, 0, "the sequence is at its budget");
    plan_.decisions.back().tokens = Tokens(static_cast<std::int64_t>(group.retained.dropping.size()));
  }
}

void Engine::commit_beams(SequenceGroup& group, std::span<const TokenCandidate> candidates) {
  const std::span<const BeamSearch::Child> next = beams_.advance(group, candidates);
  const std::size_t parents = group.live.size();
  // The first child of a parent goes on in its place; the others fork from it before anything is appended,
  // and after the beams that end have made room.
  constexpr auto none = static_cast<std::size_t>(-1);
  beam_places_.assign(parents, none);
  beam_scratch_.clear();
  for (const BeamSearch::Child& child : next) {
    beam_places_[child.parent] = child.parent;
  }
  for (std::size_t parent = 0; parent < parents; ++parent) {
    if (beam_places_[parent] == none) {
      carry_out(DecisionKind::finish, group, parent, "no beam goes on from it");
    }
  }
  for (auto child = next.begin(); child != next.end(); ++child) {
    if (std::find_if(next.begin(), child, [&](const auto& c) { return c.parent == child->parent; }) !=
        child) {
      carry_out(DecisionKind::fork, group, child->parent, "a beam splits");
      batch_.forked += group.live.back().known();
    }
  }
  std::size_t forked = parents;
  for (const BeamSearch::Child& child : next) {
    std::size_t& place = beam_places_[child.parent];
    const std::size_t from = place != none ? place : forked++;
    place = none;
    beam_scratch_.push_back(std::move(group.live[from]));
    beam_scratch_.back().sample = static_cast<std::int32_t>(beam_scratch_.size()) - 1;
    extend(beam_scratch_.back(), {child.token, child.logprob});
  }
  group.live.swap(beam_scratch_);
}

void Engine::carry_out(DecisionKind kind, SequenceGroup& group, std::size_t sequence, const char* reason) {
  const Decision decision{
      .kind = kind, .group = &group, .sequence = static_cast<std::int32_t>(sequence), .reason = reason};
  kv_.apply(decision, batch_, plan_.decisions);
  plan_.decisions.push_back(decision);
}

void Engine::end_sequence(SequenceGroup& group, std::size_t index, const char* reason) {
  carry_out(DecisionKind::finish, group, index, reason);
  Sequence& sequence = group.live[index];
  group.done.push_back(
      {sequence.sample, std::move(sequence.output), std::move(sequence.logprobs), sequence.score});
  group.live.erase(group.live.begin() + static_cast<std::ptrdiff_t>(index));
}

void Engine::end_group(SequenceGroup& group) {
  if (group.request.sampling.method != Sampling::Method::beam) {
    std::sort(group.done.begin(), group.done.end(),
              [](const auto& a, const auto& b) { return a.sample < b.sample; });
  }
  group.state = GroupState::finished;
  remove(queues_.running, &group);
  scheduler_.ended(group, clock_.now());
  if (!ends_together_) {
    answer(group);
    return;
  }
  queues_.ended.push_back(&group);
  if (queues_.running.empty() && queues_.swapped.empty()) {
    for (SequenceGroup* ended : queues_.ended) {
      answer(*ended);
    }
    queues_.ended.clear();
  }
}

void Engine::answer(SequenceGroup& group) {
  group.finished = clock_.now();
  ++progress_.finished;
  recorder_.on_finish(group);
  workload_.on_end(group.request.id, clock_.now());
  ended_.push_back(&group);  // the decision log names it until the step is recorded
}

void Engine::forget_ended() {
  for (const SequenceGroup* group : ended_) {
    const std::size_t slot = group->slot;
    groups_[slot].swap(groups_.back());
    groups_[slot]->slot = slot;
    groups_.pop_back();
  }
  ended_.clear();
}

Progress Engine::progress() const {
  Progress progress = progress_;
  progress.now = clock_.now();
  const std::int64_t capacity = kv_.device().capacity().value();
  progress.occupancy =
      capacity == 0 ? 0 : static_cast<double>(kv_.in_use().value()) / static_cast<double>(capacity);
  return progress;
}

void Engine::check_integrity() const {
  std::vector<SequenceGroup*> holding = queues_.running;
  std::ranges::copy_if(queues_.waiting, std::back_inserter(holding),
                       [](const SequenceGroup* group) { return !group->live.front().blocks.empty(); });
  kv_.check_integrity(holding, queues_.swapped);
  PAGELAB_INVARIANT(record_.slots.balanced(),
                    fmt::format("step {}: the ledger does not add up", record_.step));
}

}  // namespace pagelab
