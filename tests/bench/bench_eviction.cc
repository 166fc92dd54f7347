// References per second of CPU time of each eviction policy, over a whole trace: on one made here (50,000
// blocks, Zipf with exponent 1) and on the public ones where they are there. The cache has 5,000 blocks.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <map>

#include "core/policy_registry.h"
#include "core/random.h"
#include "experiments/cache_sim/block_trace.h"
#include "experiments/cache_sim/cache_simulator.h"
#include "policies/builtin.h"

namespace pagelab {
namespace {

constexpr std::int64_t kCapacity = 5000;

BlockTrace zipf(std::size_t blocks, std::size_t references) {
  std::vector<double> cumulated;
  double sum = 0;
  for (std::size_t rank = 1; rank <= blocks; ++rank) {
    sum += 1 / static_cast<double>(rank);
    cumulated.push_back(sum);
  }
  BlockTrace trace;
  trace.distinct = static_cast<std::int64_t>(blocks);
  RandomStream random(1, "zipf");
  for (std::size_t i = 0; i < references; ++i) {
    const auto place = std::lower_bound(cumulated.begin(), cumulated.end() - 1, random.uniform() * sum);
    // Blocks of like rank are not to be neighbours in memory: 7,919 shares no factor with 50,000.
    const auto rank = static_cast<std::size_t>(place - cumulated.begin());
    trace.contents.push_back(static_cast<std::uint32_t>(rank * 7919 % blocks));
  }
  return trace;
}

void eviction(benchmark::State& state, const std::string& policy, const BlockTrace& trace) {
  PolicyRegistry registry;
  register_builtin_policies(registry);
  const Parameters parameters(registry.find("eviction", policy).info.parameters);
  CacheSimulator simulator(trace);
  CacheSimResult result;
  for (auto _ : state) {
    const auto made = registry.make<EvictionPolicy>(policy, parameters, &simulator.future());
    result = simulator.run(*made, Blocks(kCapacity));
  }
  state.SetItemsProcessed(state.iterations() * result.references);
  state.counters["miss_ratio"] = result.miss_ratio();
}

/// The traces by name. They outlive the benchmarks.
const std::map<std::string, BlockTrace>& traces() {
  static const std::map<std::string, BlockTrace> all = [] {
    std::map<std::string, BlockTrace> found;
    found["made"] = zipf(50'000, 1'000'000);
    const char* shared = std::getenv("PAGELAB_SHARED");
    const std::filesystem::path folder =
        (shared != nullptr ? std::filesystem::path(shared)
                           : std::filesystem::path(PAGELAB_SOURCE_DIR) / ".." / "shared") /
        "cache_traces";
    for (const char* name : {"zipf10", "zipf08", "scan", "shift"}) {
      const std::filesystem::path file = folder / (std::string(name) + ".u32.xz");
      if (std::filesystem::exists(file)) {
        found[name] = read_block_trace(file);
      }
    }
    return found;
  }();
  return all;
}

void register_all() {
  PolicyRegistry registry;
  register_builtin_policies(registry);
  for (const auto& [name, trace] : traces()) {
    for (const PolicyEntry& policy : registry.axis("eviction").policies) {
      benchmark::RegisterBenchmark((policy.info.name + "/" + name).c_str(), eviction, policy.info.name,
                                   std::cref(trace))
          ->Unit(benchmark::kMillisecond);
    }
  }
}

}  // namespace
}  // namespace pagelab

int main(int argc, char** argv) {
  pagelab::register_all();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) {
    return 1;
  }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
