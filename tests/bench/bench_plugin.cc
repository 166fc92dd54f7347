// What it costs that a policy is in a plugin, and that a census counts what policies are asked: whole runs of
// the simulation's load, in turn with the policies built in, the same policies from a shared library, and the
// built-in ones under a census. All run in one program side by side, so that the machine's moods fall on all;
// what counts are the medians of their ratios.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <string>
#include <string_view>
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

/// The same under a census of one axis, or of all: the policies have other names, so that it takes them for
/// somebody's own.
PolicySet watched_policies(const PolicyRegistry& registry, PolicyCensus& census, std::string_view axis) {
  PolicySet set = standard_policies(registry);
  set.for_each([&]<class Policy>(PolicySet::Choice<Policy>& choice) {
    choice.name += axis.empty() || axis == Axis<Policy>::name ? "_watched" : "";
  });
  census.watch(set, registry,
               [&](std::string_view of) { return parameters_of(registry, of, registry.axis(of).standard); });
  return set;
}

/// Nanoseconds of processor time per sequence and step of a whole run.
double run(std::int64_t requests, PolicySet policies) {
  bench::LinearDevice device(984);
  VirtualClock clock;
  bench::ShareGptLike workload(requests, 8.0);
  CountingRecorder recorder;
  Engine engine(device, clock, workload, std::move(policies), recorder);
  const std::clock_t start = std::clock();  // of this process alone, whatever else runs on the machine
  while (engine.step()) {
  }
  const double took_s = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  return 1e9 * took_s / static_cast<double>(recorder.sequence_steps);
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
  constexpr std::array<const char*, 4> ways = {"builtin", "plugin", "census_batching", "census_all"};
  const auto policies = [&](std::size_t way, PolicyCensus& census) {
    return way == 0   ? standard_policies(builtin)
           : way == 1 ? standard_policies(plugin.policies())
                      : watched_policies(builtin, census, way == 2 ? "batching" : "");
  };
  std::array<std::vector<double>, ways.size()> ns, percent;
  std::size_t turn = 0;
  for (auto _ : state) {
    std::array<double, ways.size()> took{};
    for (std::size_t i = 0; i < ways.size(); ++i) {
      const std::size_t way = (i + turn) % ways.size();  // each comes first in turn
      PolicyCensus census;
      took[way] = run(state.range(0), policies(way, census));
    }
    for (std::size_t way = 0; way < ways.size(); ++way) {
      ns[way].push_back(took[way]);
      percent[way].push_back(100 * (took[way] / took[0] - 1));
    }
    ++turn;
  }
  for (std::size_t way = 0; way < ways.size(); ++way) {
    state.counters[std::string(ways[way]) + "_ns"] = median(ns[way]);
    state.counters[std::string(ways[way]) + "_percent"] = median(percent[way]);
  }
}
BENCHMARK(plugin_overhead)->ArgName("requests")->Arg(2000)->Iterations(31)->Unit(benchmark::kMillisecond);
BENCHMARK(plugin_overhead)->ArgName("requests")->Arg(20)->Iterations(1);  // that it works

}  // namespace
}  // namespace pagelab
