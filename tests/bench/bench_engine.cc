// What the engine itself costs: one whole step (arrivals, plan, apply, commit, record) without a device, and
// one block allocated and freed.
#include <benchmark/benchmark.h>

#include "tests/support/builders.h"

namespace pagelab {
namespace {

/// Returns token 1 for every row at no cost.
class NullDevice final : public Device {
 public:
  explicit NullDevice(std::int64_t blocks)
      : capacity_{.device_blocks = Blocks(blocks),
                  .host_blocks = Blocks(0),
                  .block_size = Tokens(16),
                  .block_bytes = Bytes(1),
                  .max_positions = Tokens(1 << 30)} {}
  DeviceCapacity capacity() const override { return capacity_; }
  void execute(const StepBatch&, StepResult& result) override {
    std::fill(result.candidates.begin(), result.candidates.end(), TokenCandidate{1, -1.0f});
    result.duration = Seconds(0.001);
  }

 private:
  DeviceCapacity capacity_;
};

class NullRecorder final : public Recorder {
  void on_step(const StepRecord& record, std::span<const Decision>) override {
    benchmark::DoNotOptimize(record.step);
  }
  void on_finish(const SequenceGroup&) override {}
  void on_refuse(const Request&, Seconds, const std::string&) override {}
};

/// `sequences` requests decode at a context of about 256 to 768 tokens: plan, apply, ledger, commit.
void engine_step(benchmark::State& state) {
  const std::int64_t sequences = state.range(0);
  std::vector<Request> requests;
  for (std::int64_t i = 0; i < sequences; ++i) {
    requests.push_back(testing::request(static_cast<std::int32_t>(i), 256 + i % 16, 1024));
  }
  NullDevice device(sequences * (1024 + 272) / 16 + sequences);
  NullRecorder recorder;
  VirtualClock clock;
  testing::ListWorkload workload(std::move(requests));
  Engine engine(device, clock, workload,
                testing::policies({.parameters = {{"batching.max_tokens", std::int64_t{1} << 20}}}),
                recorder);
  engine.step();
  std::int64_t steps = 0;
  for (auto _ : state) {
    engine.step();
    ++steps;
  }
  state.counters["context"] = static_cast<double>(256 + steps);
}
BENCHMARK(engine_step)
    ->Arg(1)
    ->Arg(16)
    ->Arg(64)
    ->Arg(256)
    ->Iterations(512)
    ->Repetitions(9)
    ->ReportAggregatesOnly()
    ->Unit(benchmark::kMicrosecond);

void block_allocate_and_free(benchmark::State& state) {
  BlockPool pool(Blocks(4096), Tokens(16));
  for (auto _ : state) {
    const BlockId block = pool.allocate();
    benchmark::DoNotOptimize(block);
    pool.release(block);
  }
}
BENCHMARK(block_allocate_and_free)->Repetitions(9)->ReportAggregatesOnly();

}  // namespace
}  // namespace pagelab
