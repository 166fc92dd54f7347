#include "experiments/check/case_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

#include "core/engine.h"
#include "core/error.h"
#include "experiments/workload.h"
#include "models/check_device.h"

namespace pagelab {

namespace {

/// What ends the judgement of a case.
struct Found {
  Fault fault;
  std::string text;
};

struct Event {
  std::int64_t step;
  DecisionKind kind;
  std::int32_t request;
  std::int32_t sequence;
  Tokens tokens;
  bool operator==(const Event&) const = default;
};

std::string describe(const Event& event) {
  return fmt::format("step {}: {} request {}, {} tokens", event.step, name_of(event.kind), event.request,
                     event.tokens.value());
}

/// Requests in a list, whose ends it counts.
class Requests final : public Workload {
 public:
  explicit Requests(std::vector<Request> requests) : requests_(std::move(requests)) {}
  std::optional<Seconds> next_arrival() const override {
    return next_ < requests_.size() ? std::optional(requests_[next_].arrival) : std::nullopt;
  }
  Request take() override { return requests_[next_++]; }
  void on_end(RequestId, Seconds) override { ++ended_; }
  std::int64_t total() const override { return static_cast<std::int64_t>(requests_.size()); }
  std::int64_t left() const { return total() - ended_; }

 private:
  std::vector<Request> requests_;
  std::size_t next_ = 0;
  std::int64_t ended_ = 0;
};

/// Keeps what runs are compared by.
class Journal final : public Recorder {
 public:
  void on_step(const StepRecord& record, std::span<const Decision> decisions) override {
    check(record);
    for (const Decision& d : decisions) {
      events.push_back({record.step, d.kind, d.group->request.id.value(), d.sequence, d.tokens});
    }
    steps = record.step + 1;
  }
  void on_finish(const SequenceGroup& group) override {
    finished.push_back(group.request.id.value());
    outputs[group.request.id.value()] = group.done;
  }
  void on_refuse(const Request& request, Seconds, const std::string&) override {
    refused.push_back(request.id.value());
  }

  std::vector<Event> events;
  std::vector<std::int32_t> finished;  ///< in this order
  std::vector<std::int32_t> refused;
  std::map<std::int32_t, std::vector<FinishedSequence>> outputs;
  std::int64_t steps = 0;

 private:
  static void check(const StepRecord& record) {
    const SlotLedger& slots = record.slots;
    const Tokens least =
        std::min({slots.token, slots.cached, slots.reserved, slots.internal, slots.external, slots.free});
    if (!slots.balanced() || least < Tokens(0)) {
      throw Found{
          Fault::conservation,
          fmt::format("step {}: of {} slots {} hold tokens, {} are cached, {} reserved, {} lost inside "
                      "and {} outside blocks, {} free",
                      record.step, slots.total.value(), slots.token.value(), slots.cached.value(),
                      slots.reserved.value(), slots.internal.value(), slots.external.value(),
                      slots.free.value())};
    }
  }
};

/// Steps that are enough whatever is preempted: tokens of work, each computed over and over.
std::int64_t most_steps(const std::vector<Request>& requests) {
  std::int64_t work = 0;
  for (const Request& r : requests) {
    work += (static_cast<std::int64_t>(r.prompt.size()) + r.max_output.value()) * r.sampling.n;
  }
  return 1000 + 100 * work;
}

/// One run of the requests under the experiment's policies.
class Trial {
 public:
  Trial(const Experiment& experiment, const PolicyRegistry& registry, std::vector<Request> requests)
      : limit_(most_steps(requests)),
        device_(experiment.device.device_blocks.value(), experiment.device.host_blocks.value(),
                experiment.device.block_size.value(), experiment.device.vocabulary),
        workload_(std::move(requests)) {
    try {
      engine_.emplace(device_, clock_, workload_, make_policies(experiment, registry), journal);
    } catch (const InputError& error) {
      throw Found{Fault::excluded, error.what()};
    }
  }

  void run() {
    while (engine_->step()) {
      engine_->check_integrity();
      digests.push_back(device_.digest());
      if (journal.steps > limit_) {
        throw Found{
            Fault::progress,
            fmt::format("after {} steps {} of {} requests are without an answer: the same work is done "
                        "again and again",
                        journal.steps, workload_.left(), workload_.total())};
      }
    }
    check_end();
  }

  const PolicySet& policies() const { return engine_->policies(); }

  Journal journal;
  std::vector<std::uint64_t> digests;  ///< of what the device was told, after each step

 private:
  void check_end() const {
    if (workload_.left() > 0) {
      throw Found{Fault::progress, fmt::format("the run ended and {} of {} requests are without an answer",
                                               workload_.left(), workload_.total())};
    }
    const KvManager& kv = engine_->kv();
    const Blocks lost = kv.device().allocated() - kv.pinned() - kv.cached();
    const Blocks held = kv.cached() - kv.idle();
    if (lost != Blocks(0) || held != Blocks(0) || kv.host().allocated() != Blocks(0)) {
      throw Found{
          Fault::conservation,
          fmt::format("at the end {} device and {} host blocks are allocated that nobody uses, and {} "
                      "cached blocks count as used",
                      lost.value(), kv.host().allocated().value(), held.value())};
    }
  }

  std::int64_t limit_;
  CheckDevice device_;
  VirtualClock clock_;
  Requests workload_;
  std::optional<Engine> engine_;
};

std::vector<Request> requests_of(const Experiment& experiment) {
  const auto workload = make_workload(experiment.workload, experiment.seed, experiment.device.vocabulary);
  std::vector<Request> requests;
  while (workload->next_arrival()) {
    requests.push_back(workload->take());
  }
  return requests;
}

/// The same on a pool where one request lacks nothing, under standard policies but for those that decide what
/// a sequence reads and so what it says.
Experiment alone(const Experiment& experiment, const PolicyRegistry& registry) {
  constexpr std::array<std::string_view, 1> change_tokens = {"retention"};
  Experiment roomy = experiment;
  roomy.device.block_size = Tokens(16);
  roomy.device.host_blocks = Blocks(0);
  for (PolicyChoice& choice : roomy.policies) {
    if (std::ranges::find(change_tokens, choice.axis) == change_tokens.end()) {
      const PolicyEntry& standard = registry.find(choice.axis, registry.axis(choice.axis).standard);
      choice.name = standard.info.name;
      choice.needs = standard.info.needs;
      choice.parameters = Parameters(standard.info.parameters);
    }
  }
  return roomy;
}

bool same(const std::vector<FinishedSequence>& a, const std::vector<FinishedSequence>& b) {
  return std::ranges::equal(a, b, [](const FinishedSequence& x, const FinishedSequence& y) {
    return x.output == y.output && x.logprobs == y.logprobs && x.score == y.score;
  });
}

void check_tokens(const Experiment& experiment, const PolicyRegistry& registry,
                  const std::vector<Request>& requests, const Journal& crowd) {
  Experiment roomy = alone(experiment, registry);
  for (const Request& request : requests) {
    const auto answer = crowd.outputs.find(request.id.value());
    if (answer == crowd.outputs.end()) {
      continue;
    }
    Request single = request;
    single.id = RequestId(0);
    single.arrival = Seconds(0);
    const auto slots = static_cast<std::int64_t>(request.prompt.size()) + request.max_output.value();
    roomy.device.device_blocks = Blocks((slots / 16 + 2) * request.sampling.n + 1);
    Trial trial(roomy, registry, {single});
    trial.run();
    if (!same(answer->second, trial.journal.outputs.at(0))) {
      throw Found{Fault::tokens,
                  fmt::format("request {} got other tokens than when it runs alone", request.id.value())};
    }
  }
}

void check_same(const Trial& first, const Trial& second) {
  const auto [a, b] = std::ranges::mismatch(first.journal.events, second.journal.events);
  if (a != first.journal.events.end() || b != second.journal.events.end()) {
    throw Found{Fault::determinism, fmt::format("the first run took the decision '{}', the second '{}'",
                                                a == first.journal.events.end() ? "none" : describe(*a),
                                                b == second.journal.events.end() ? "none" : describe(*b))};
  }
  const auto [x, y] = std::ranges::mismatch(first.digests, second.digests);
  if (x != first.digests.end()) {
    throw Found{Fault::determinism, fmt::format("step {}: the second run uses other blocks than the first",
                                                x - first.digests.begin())};
  }
}

/// How many later requests were answered before the second one; ids are in order of arrival.
void check_waiting(const Journal& journal, std::int64_t overtakers) {
  const auto second = std::ranges::find(journal.finished, 1);
  const auto before = std::count_if(journal.finished.begin(), second, [](std::int32_t id) { return id > 1; });
  if (overtakers > 0 && before > overtakers) {
    throw Found{Fault::starvation,
                fmt::format("{} requests that came after request 1 were answered before it was; the policy "
                            "promises that no request waits without end, and {} count as without end",
                            before, overtakers)};
  }
}

void count(const Trial& trial, std::size_t requests, CaseCounts& counts) {
  counts.requests += static_cast<std::int64_t>(requests);
  counts.refused += static_cast<std::int64_t>(trial.journal.refused.size());
  counts.steps += trial.journal.steps;
  std::array<std::int64_t, 256> kinds{};
  for (const Event& event : trial.journal.events) {
    ++kinds[static_cast<std::size_t>(event.kind)];
  }
  for (std::size_t kind = 0; kind < kinds.size(); ++kind) {
    if (kinds[kind] > 0) {
      counts.decisions[std::string(name_of(static_cast<DecisionKind>(kind)))] += kinds[kind];
    }
  }
  trial.policies().for_each([&]<class Policy>(const PolicySet::Choice<Policy>& choice) {
    counts.asked[std::string(Axis<Policy>::name)] += choice.asked;
  });
}

void judge(const Experiment& experiment, const PolicyRegistry& registry, std::int64_t overtakers,
           CaseCounts& counts) {
  const std::vector<Request> requests = requests_of(experiment);
  Trial first(experiment, registry, requests);
  first.run();
  count(first, requests.size(), counts);
  check_waiting(first.journal, overtakers);
  Trial second(experiment, registry, requests);
  second.run();
  check_same(first, second);
  if (overtakers == 0) {
    check_tokens(experiment, registry, requests, first.journal);
  }
}

}  // namespace

std::string_view text_of(Fault fault) {
  switch (fault) {
    case Fault::none:
      return "it keeps its contract";
    case Fault::excluded:
      return "no other policy goes with it";
    case Fault::contract:
      return "it broke its contract";
    case Fault::failure:
      return "the run failed";
    case Fault::content:
      return "a sequence read what is not its own";
    case Fault::conservation:
      return "slots were lost";
    case Fault::progress:
      return "no progress";
    case Fault::starvation:
      return "a request starved";
    case Fault::tokens:
      return "tokens changed";
    case Fault::determinism:
      return "the same run twice differs";
    case Fault::crash:
      return "the program was ended";
    case Fault::silence:
      return "it never answered";
  }
  return "";
}

void CaseCounts::add(const CaseCounts& other) {
  cases += other.cases;
  excluded += other.excluded;
  requests += other.requests;
  refused += other.refused;
  steps += other.steps;
  for (const auto& [kind, number] : other.decisions) {
    decisions[kind] += number;
  }
  for (const auto& [axis, number] : other.asked) {
    asked[axis] += number;
  }
}

CaseVerdict run_case(const Experiment& experiment, const PolicyRegistry& registry, std::int64_t overtakers) {
  CaseVerdict verdict;
  const auto found = [&](Fault fault, std::string text) {
    verdict.fault = fault;
    verdict.text = std::move(text);
  };
  try {
    judge(experiment, registry, overtakers, verdict.counts);
    verdict.counts.cases = 1;
  } catch (Found& f) {
    found(f.fault, std::move(f.text));
  } catch (const PolicyError& error) {
    found(Fault::contract, error.what());
  } catch (const ContentError& error) {
    found(Fault::content, error.what());
  } catch (const std::exception& error) {
    found(Fault::failure, error.what());
  }
  return verdict;
}

}  // namespace pagelab
