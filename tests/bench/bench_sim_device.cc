// What a simulated device adds to a step: OPT-13B on the described A100, decodes alone, with a prefill beside
// them, and beams.
#include <benchmark/benchmark.h>

#include <filesystem>

#include "models/device_description.h"
#include "models/sim_device.h"
#include "tests/support/source_dir.h"

namespace pagelab {
namespace {

SimDevice opt_13b() {
  const auto file = test::source_dir() / "experiments/devices/a100-40gb.toml";
  return {read_device_description(file), *find_shape("opt-13b"), {}, {Blocks(984), Blocks(1638)}};
}

StepBatch decodes(std::int64_t sequences) {
  StepBatch batch;
  for (std::int32_t i = 0; i < sequences; ++i) {
    batch.chunks.push_back({.blocks = {}, .first = 100 + 7 * i, .count = 1, .row = i});
    batch.samples.push_back({.row = i, .kind = SampleRow::Kind::random});
  }
  batch.tokens.resize(batch.chunks.size());
  batch.candidates = static_cast<std::int32_t>(sequences);
  return batch;
}

void run(benchmark::State& state, const StepBatch& batch) {
  SimDevice device = opt_13b();
  StepResult result;
  for (auto _ : state) {
    device.execute(batch, result);
    benchmark::DoNotOptimize(result.duration);
  }
  state.counters["s/sequence"] =
      benchmark::Counter(static_cast<double>(batch.chunks.size()) * static_cast<double>(state.iterations()),
                         benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

void sim_decodes(benchmark::State& state) {
  run(state, decodes(state.range(0)));
}
BENCHMARK(sim_decodes)->Arg(1)->Arg(32)->Arg(128);

void sim_decodes_and_a_prefill(benchmark::State& state) {
  StepBatch batch = decodes(state.range(0));
  batch.chunks.push_back(
      {.blocks = {}, .first = 0, .count = 161, .row = static_cast<std::int32_t>(state.range(0))});
  batch.tokens.resize(batch.tokens.size() + 161);
  run(state, batch);
}
BENCHMARK(sim_decodes_and_a_prefill)->Arg(128);

void sim_beams(benchmark::State& state) {
  StepBatch batch = decodes(state.range(0));
  for (SampleRow& row : batch.samples) {
    row.kind = SampleRow::Kind::top;
    row.count = 12;
  }
  batch.candidates *= 12;
  run(state, batch);
}
BENCHMARK(sim_beams)->Arg(120);

}  // namespace
}  // namespace pagelab
