// End to end: N requests of 128 prompt and 128 new tokens, all at once, through the engine on the CPU device,
// greedy. Counters: generated tokens/s while all decode (decode_tok_s), prompt tokens/s (prefill_tok_s), and
// the share of the decoding time that each kind of operation takes (the rest is the engine and the forward
// pass around them).
//
//   PAGELAB_BENCH_THREADS=2 bench_serving --benchmark_filter=llama-110m/bf16      (default: a thread per
//   core)
#include <benchmark/benchmark.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <map>
#include <thread>

#include "kernels/cpu/cpu_ops.h"
#include "models/model.h"
#include "models/model_device.h"
#include "tests/support/builders.h"

namespace pagelab {
namespace {

constexpr std::int64_t kPrompt = 128;
constexpr std::int64_t kOutput = 128;
constexpr auto kKinds = static_cast<std::size_t>(kernels::OpKind::count_);

int threads() {
  const char* given = std::getenv("PAGELAB_BENCH_THREADS");
  return given != nullptr ? std::atoi(given) : static_cast<int>(std::thread::hardware_concurrency());
}

/// Adds up time and tokens of prefill and of decode steps, and where the decode steps' time went.
class PhaseRecorder final : public Recorder {
 public:
  explicit PhaseRecorder(const ModelDevice& device) : device_(device) {}

  /// Starts the time of the first step.
  void begin() { snapshot(); }

  void on_step(const StepRecord& record, std::span<const Decision>) override {
    const auto now = std::chrono::steady_clock::now();
    const double seconds = std::chrono::duration<double>(now - last_).count();
    const auto before = operators_;
    snapshot();
    if (record.tokens_prefill > Tokens(0)) {
      prefill_seconds += seconds;
      prefill_tokens += record.tokens_prefill.value();
    } else {
      decode_seconds += seconds;
      decode_tokens += record.tokens_decode.value();
      for (std::size_t kind = 0; kind < kKinds; ++kind) {
        decode_operators[kind] += operators_[kind] - before[kind];
      }
    }
  }
  void on_finish(const SequenceGroup&) override {}
  void on_refuse(const Request&, Seconds, const std::string& why) override { refused = why; }

  double prefill_seconds = 0, decode_seconds = 0;
  std::int64_t prefill_tokens = 0, decode_tokens = 0;
  std::array<double, kKinds> decode_operators{};
  std::string refused;

 private:
  void snapshot() {
    last_ = std::chrono::steady_clock::now();
    for (std::size_t kind = 0; kind < kKinds; ++kind) {
      operators_[kind] = device_.seconds_in(static_cast<kernels::OpKind>(kind));
    }
  }

  const ModelDevice& device_;
  std::chrono::steady_clock::time_point last_;
  std::array<double, kKinds> operators_{};
};

ModelDevice& device_for(const std::string& model, kernels::DType dtype) {
  static std::map<std::pair<std::string, kernels::DType>, std::unique_ptr<ModelDevice>> devices;
  auto& device = devices[{model, dtype}];
  if (device == nullptr) {
    devices.clear();  // one model in memory at a time
    auto ops = std::make_unique<kernels::cpu::CpuOps>(
        kernels::cpu::CpuOptions{.threads = threads(), .weight_dtype = dtype});
    auto weights = load_model(model, 1, *ops);
    auto made =
        std::make_unique<ModelDevice>(std::move(ops), std::move(weights),
                                      KvOptions{.block_size = 16, .dtype = dtype, .device_blocks = 64 * 17});
    return *(devices[{model, dtype}] = std::move(made));
  }
  return *device;
}

void serve(benchmark::State& state, const std::string& model, kernels::DType dtype) {
  ModelDevice& device = device_for(model, dtype);
  PhaseRecorder recorder(device);
  for (auto _ : state) {
    std::vector<Request> requests;
    for (std::int64_t i = 0; i < state.range(0); ++i) {
      requests.push_back(testing::request(static_cast<std::int32_t>(i), kPrompt, kOutput));
    }
    RealClock clock;
    testing::ListWorkload workload(std::move(requests));
    Engine engine(device, clock, workload,
                  testing::policies({.batching = "prefill_first",
                                     .parameters = {{"batching.max_tokens", std::int64_t{2048}}}}),
                  recorder);
    recorder.begin();
    while (engine.step()) {
    }
  }
  if (!recorder.refused.empty()) {
    state.SkipWithError(recorder.refused.c_str());
  }
  state.counters["decode_tok_s"] = static_cast<double>(recorder.decode_tokens) / recorder.decode_seconds;
  state.counters["prefill_tok_s"] = static_cast<double>(recorder.prefill_tokens) / recorder.prefill_seconds;
  for (std::size_t kind = 0; kind < kKinds; ++kind) {
    state.counters["share_" + std::string(name_of(static_cast<kernels::OpKind>(kind)))] =
        recorder.decode_operators[kind] / recorder.decode_seconds;
  }
}

void add(const std::string& model, kernels::DType dtype) {
  auto* made = benchmark::RegisterBenchmark((model + "/" + std::string(kernels::name_of(dtype))).c_str(),
                                            [=](benchmark::State& state) { serve(state, model, dtype); });
  made->RangeMultiplier(2)->Range(1, 64)->Iterations(1)->UseRealTime()->Unit(benchmark::kSecond);
}

}  // namespace
}  // namespace pagelab

int main(int argc, char** argv) {
  using pagelab::kernels::DType;
  pagelab::add("llama-110m", DType::bf16);
  pagelab::add("llama-110m", DType::f32);
  pagelab::add("tinyllama-1.1b", DType::bf16);
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
