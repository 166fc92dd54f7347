// What it costs that a policy is in a plugin, and that a census counts what policies are asked: whole runs of
// the simulation's load, in turn with the policies built in, the same policies from a shared library, and the
// built-in ones under a census. All run in one program side by side, so that the machine's moods fall on all;
// what counts are the medians of their ratios.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <functional>
#include <vector>

#include "core/clock.h"
#include "core/engine.h"
#include "experiments/plugin/plugin.h"
#include "experiments/policy_census.h"
#include "policies/builtin.h"
#include "tests/bench/simulation_load.h"

namespace pagelab {
namespace {

class CountingRecorder final : public Recorder {
 public:
  void on_step(const StepRecord& record, std::span<const Decision>) override {
    sequence_steps += record.running;
  }
  void on_finish(const SequenceGroup&) override {}
  void on_refuse(const Request&, Seconds, const std::string&) override {}
  std::int64_t sequence_steps = 0;
};

Parameters parameters_of(const PolicyRegistry& registry, std::string_view axis, std::string_view name) {
  Parameters parameters(registry.find(axis, name).info.parameters);
  if (parameters.has("max_sequences")) {
    parameters.set("max_sequences", std::int64_t{128});
  }
  return parameters;
}

/// The standard policy of every axis.
PolicySet standard_policies(const PolicyRegistry& registry) {
  PolicySet set;
  set.for_each([&]<class Policy>(PolicySet::Choice<Policy>& choice) {
    const std::string name(Axis<Policy>::standard);
    choice = {name, registry.make<Policy>(name, parameters_of(registry, Axis<Policy>::name, name))};
  });
  return set;
}

/// The same under other names, so that the census takes them for policies of somebody's own and counts all
/// axes.
PolicySet watched_policies(const PolicyRegistry& registry, PolicyCensus& census) {
  PolicySet set = standard_policies(registry);
  set.for_each([](auto& choice) { choice.name += "_watched"; });
  census.watch(set, registry, [&](std::string_view axis) {
    return parameters_of(registry, axis, registry.axis(axis).standard);
  });
  return set;
}

/// Nanoseconds per sequence and step of a whole run.
double run(std::int64_t requests, PolicySet policies) {
  bench::LinearDevice device(984);
  VirtualClock clock;
  bench::ShareGptLike workload(requests, 8.0);
  CountingRecorder recorder;
  Engine engine(device, clock, workload, std::move(policies), recorder);
  const auto start = std::chrono::steady_clock::now();
  while (engine.step()) {
  }
  const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - start;
  return took.count() / static_cast<double>(recorder.sequence_steps);
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// Argument: requests. Reports ns per sequence and step, and overheads in percent of a step.
void plugin_overhead(benchmark::State& state) {
  PolicyRegistry builtin;
  register_builtin_policies(builtin);
  const Plugin plugin(PAGELAB_STANDARD_PLUGIN);
  enum { builtin_run, plugin_run, census_run, ways };
  std::array<std::vector<double>, ways> ns, percent;
  int turn = 0;
  for (auto _ : state) {
    std::array<double, ways> took{};
    for (int i = 0; i < ways; ++i) {
      const int way = (i + turn) % ways;  // each comes first in turn
      PolicyCensus census;
      took[static_cast<std::size_t>(way)] =
          run(state.range(0), way == plugin_run   ? standard_policies(plugin.policies())
                              : way == census_run ? watched_policies(builtin, census)
                                                  : standard_policies(builtin));
    }
    for (std::size_t way = 0; way < ways; ++way) {
      ns[way].push_back(took[way]);
      percent[way].push_back(100 * (took[way] / took[builtin_run] - 1));
    }
    ++turn;
  }
  state.counters["builtin_ns"] = median(ns[builtin_run]);
  state.counters["plugin_ns"] = median(ns[plugin_run]);
  state.counters["census_ns"] = median(ns[census_run]);
  state.counters["plugin_percent"] = median(percent[plugin_run]);
  state.counters["census_percent"] = median(percent[census_run]);
}
BENCHMARK(plugin_overhead)->ArgName("requests")->Arg(2000)->Iterations(31)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace pagelab
