// Short ways to build what engine tests need: requests, a workload from a list, policies by name, a recorder
// that keeps everything. For tests only.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/engine.h"
#include "core/policy_registry.h"
#include "core/random.h"
#include "core/recorder.h"
#include "core/request.h"
#include "policies/builtin.h"

namespace pagelab::testing {

/// A request whose prompt is drawn from its id.
inline Request request(std::int32_t id, std::int64_t prompt, std::int64_t output, double arrival = 0) {
  Request request;
  request.id = RequestId(id);
  request.arrival = Seconds(arrival);
  request.max_output = Tokens(output);
  request.forced_output = true;
  request.sampling.seed = derive_seed(1, "request", static_cast<std::uint64_t>(id));
  for (std::int64_t i = 0; i < prompt; ++i) {
    request.prompt.push_back(static_cast<TokenId>(
        derive_seed(static_cast<std::uint64_t>(id), "prompt", static_cast<std::uint64_t>(i)) % 1000));
  }
  return request;
}

inline Request parallel(Request request, std::int32_t n) {
  request.sampling.method = Sampling::Method::random;
  request.sampling.n = n;
  return request;
}

inline Request beams(Request request, std::int32_t width) {
  request.sampling.method = Sampling::Method::beam;
  request.sampling.n = width;
  return request;
}

/// Requests in the order of the list.
class ListWorkload final : public Workload {
 public:
  explicit ListWorkload(std::vector<Request> requests) : requests_(std::move(requests)) {}
  std::optional<Seconds> next_arrival() const override {
    return next_ < requests_.size() ? std::optional(requests_[next_].arrival) : std::nullopt;
  }
  Request take() override { return requests_[next_++]; }
  void on_end(RequestId, Seconds) override { ++ended; }
  std::int64_t total() const override { return static_cast<std::int64_t>(requests_.size()); }

  std::int64_t ended = 0;

 private:
  std::vector<Request> requests_;
  std::size_t next_ = 0;
};

/// Names (and parameters) of the policies of a run; what is empty is the axis's standard.
struct PolicyNames {
  std::string scheduling = "fcfs", batching = "mixed", allocation = "paged", preemption = "latest",
              sharing = "group", eviction = "lru";
  std::map<std::string, ParameterValue> parameters{};  ///< "batching.max_tokens" -> value
};

template <class Policy>
PolicySet::Choice<Policy> choose(const PolicyRegistry& registry, const std::string& name,
                                 const PolicyNames& names) {
  const std::string axis(Axis<Policy>::name);
  Parameters parameters(registry.find(axis, name).info.parameters);
  for (const auto& [key, value] : names.parameters) {
    if (key.starts_with(axis + ".")) {
      parameters.set(key.substr(axis.size() + 1), value);
    }
  }
  return {name, registry.make<Policy>(name, parameters)};
}

inline PolicySet policies(const PolicyNames& names = {}) {
  PolicyRegistry registry;
  register_builtin_policies(registry);
  return {choose<SchedulingPolicy>(registry, names.scheduling, names),
          choose<BatchingPolicy>(registry, names.batching, names),
          choose<AllocationPolicy>(registry, names.allocation, names),
          choose<PreemptionPolicy>(registry, names.preemption, names),
          choose<SharingPolicy>(registry, names.sharing, names),
          choose<EvictionPolicy>(registry, names.eviction, names)};
}

/// Keeps all that the engine reports.
class KeepingRecorder final : public Recorder {
 public:
  struct Event {
    std::int64_t step;
    DecisionKind kind;
    std::int32_t request;
    std::int64_t tokens;
    std::string reason;
  };
  void on_step(const StepRecord& record, std::span<const Decision> decisions) override {
    steps.push_back(record);
    for (const Decision& d : decisions) {
      events.push_back({record.step, d.kind, d.group->request.id.value(), d.tokens.value(), d.reason});
    }
  }
  void on_finish(const SequenceGroup& group) override {
    outputs[group.request.id.value()] = group.done;
    finished.push_back(group.request.id.value());
  }
  void on_refuse(const Request& request, Seconds, const std::string& why) override {
    refused[request.id.value()] = why;
  }

  std::int64_t count(DecisionKind kind) const {
    return std::count_if(events.begin(), events.end(), [kind](const Event& e) { return e.kind == kind; });
  }

  std::vector<StepRecord> steps;
  std::vector<Event> events;
  std::map<std::int32_t, std::vector<FinishedSequence>> outputs;
  std::vector<std::int32_t> finished;
  std::map<std::int32_t, std::string> refused;
};

/// A whole run in virtual time.
struct Run {
  KeepingRecorder record;
  Progress progress;
};

inline Run run(Device& device, std::vector<Request> requests, const PolicyNames& names = {}) {
  Run run;
  VirtualClock clock;
  ListWorkload workload(std::move(requests));
  Engine engine(device, clock, workload, policies(names), run.record);
  while (engine.step()) {
    engine.check_integrity();
  }
  run.progress = engine.progress();
  EXPECT_EQ(engine.kv().device().allocated(), engine.kv().pinned() + engine.kv().cached())
      << "blocks are lost";
  EXPECT_EQ(engine.kv().cached(), engine.kv().idle()) << "a block is in use for nobody";
  EXPECT_EQ(engine.kv().host().allocated(), Blocks(0)) << "host blocks are lost";
  EXPECT_EQ(workload.ended, workload.total());
  return run;
}

}  // namespace pagelab::testing
