// What the engine costs per sequence and step when the device costs nothing: a whole run of ShareGPT-like
// requests in virtual time, from the first arrival to the last token, overloaded so that requests queue and
// are preempted. This bounds how fast any simulated device can be.
#include <benchmark/benchmark.h>

#include <filesystem>
#include <optional>

#include "experiments/run_folder.h"
#include "tests/bench/simulation_load.h"
#include "tests/support/builders.h"

namespace pagelab {
namespace {

using bench::LinearDevice;
using bench::ShareGptLike;

/// Counts what the engine worked through; passes everything on to `inner`, if there is one.
class CountingRecorder final : public Recorder {
 public:
  explicit CountingRecorder(Recorder* inner) : inner_(inner) {}
  void on_step(const StepRecord& record, std::span<const Decision> decisions) override {
    ++steps;
    sequence_steps += record.running;
    preemptions += record.preempt_recompute;
    most_waiting = std::max(most_waiting, record.waiting);
    if (inner_ != nullptr) {
      inner_->on_step(record, decisions);
    }
  }
  void on_finish(const SequenceGroup& group) override {
    prompt += static_cast<std::int64_t>(group.request.prompt.size());
    output += group.request.max_output.value();
    if (inner_ != nullptr) {
      inner_->on_finish(group);
    }
  }
  void on_refuse(const Request&, Seconds, const std::string&) override {}

  std::int64_t steps = 0, sequence_steps = 0, preemptions = 0, prompt = 0, output = 0;
  std::int32_t most_waiting = 0;

 private:
  Recorder* inner_;
};

/// Arguments: requests, requests per 10 s, device blocks, whether a run folder is written.
void simulation(benchmark::State& state) {
  const auto folder = std::filesystem::temp_directory_path() / "pagelab_bench_simulation";
  CountingRecorder counted(nullptr);
  for (auto _ : state) {
    std::filesystem::remove_all(folder);
    std::optional<RunFolder> run_folder;
    if (state.range(3) != 0) {
      run_folder.emplace(folder, RunFolder::Options{.trace = false});
    }
    counted = CountingRecorder(run_folder ? &*run_folder : nullptr);
    LinearDevice device(state.range(2));
    VirtualClock clock;
    ShareGptLike workload(state.range(0), static_cast<double>(state.range(1)) / 10);
    Engine engine(device, clock, workload,
                  testing::policies({.parameters = {{"batching.max_sequences", std::int64_t{128}}}}),
                  counted);
    while (engine.step()) {
    }
    if (run_folder) {
      run_folder->finish({});
    }
  }
  std::filesystem::remove_all(folder);
  const auto count = [](std::int64_t number) { return static_cast<double>(number); };
  state.counters["steps"] = count(counted.steps);
  state.counters["sequence_steps"] = count(counted.sequence_steps);
  state.counters["per_sequence_step"] =
      benchmark::Counter(count(counted.sequence_steps),
                         benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
  state.counters["preemptions"] = count(counted.preemptions);
  state.counters["most_waiting"] = counted.most_waiting;
  state.counters["mean_prompt"] = count(counted.prompt) / count(state.range(0));
  state.counters["mean_output"] = count(counted.output) / count(state.range(0));
}
BENCHMARK(simulation)
    ->ArgNames({"requests", "per_10s", "blocks", "folder"})
    ->ArgsProduct({{10000}, {80}, {984, 3900}, {0, 1}})  // a day's demand in twenty minutes
    ->ArgsProduct({{7200}, {20}, {984}, {0, 1}})         // an hour near the knee of SOSP'23, figure 12a
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace pagelab
