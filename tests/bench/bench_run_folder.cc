// What a run costs beside the engine and the device: rows of the run folder, requests of the workload and the
// tokens of their prompts. A simulated run of an hour has 38,000 steps or more and thousands of requests.
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "experiments/arrivals.h"
#include "experiments/prompts.h"
#include "experiments/run_folder.h"
#include "experiments/workload.h"
#include "tests/support/source_dir.h"

namespace pagelab {
namespace {

namespace fs = std::filesystem;

/// A folder that goes away with the object.
class ScratchFolder {
 public:
  ScratchFolder() {
    std::string name = (fs::temp_directory_path() / "pagelab_bench_XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~ScratchFolder() { fs::remove_all(path_); }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  fs::path run() const { return path_ / "run"; }

 private:
  fs::path path_;
};

/// A step of OPT-13B's size: 984 blocks of 16, tens of groups.
StepRecord step_of(std::int64_t number, Seconds time) {
  StepRecord record;
  record.step = number;
  record.time = time;
  record.running = static_cast<std::int32_t>(30 + number % 64);
  record.duration = Seconds(0.0262 + 0.000419 * record.running);
  record.slots.total = Tokens(984 * 16);
  record.slots.token = Tokens(9000 + number % 5000);
  record.slots.reserved = Tokens(number % 500);
  record.slots.free = record.slots.total - record.slots.token - record.slots.reserved;
  record.blocks_logical = Blocks(700 + number % 200);
  record.blocks_physical = record.blocks_logical;
  record.waiting = static_cast<std::int32_t>(number % 4000);
  record.tokens_prefill = Tokens(number % 7 == 0 ? 161 : 0);
  record.tokens_decode = Tokens(record.running);
  return record;
}

void steps(benchmark::State& state) {
  const ScratchFolder scratch;
  RunFolder folder(scratch.run(), {.steps = state.range(0) != 0, .trace = state.range(1) != 0});
  Seconds time(0);
  std::int64_t number = 0;
  for (auto _ : state) {
    const StepRecord record = step_of(number++, time);
    time += record.duration;
    folder.on_step(record, {});
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(steps)->ArgNames({"steps.csv", "trace.json"})->Args({0, 0})->Args({1, 0})->Args({1, 1});

/// Requests of one sequence of 338 tokens.
void finished_requests(benchmark::State& state) {
  const ScratchFolder scratch;
  RunFolder folder(scratch.run(), {.requests = state.range(0) != 0, .trace = false});
  SequenceGroup group;
  group.state = GroupState::finished;
  group.done.push_back({0, std::vector<TokenId>(338, 7), {}, 0});
  group.request.prompt.assign(161, 3);
  std::int32_t number = 0;
  for (auto _ : state) {
    group.request.id = RequestId(number);
    group.request.arrival = Seconds(number * 0.12345);
    group.admitted = group.request.arrival + Seconds(0.0321);
    group.first_token = group.admitted + Seconds(0.0789);
    group.finished = group.first_token + Seconds(13.57913);
    folder.on_finish(group);
    ++number;
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(finished_requests)->ArgName("requests.csv")->Arg(0)->Arg(1);

WorkloadSpec workload_spec(const std::string& toml) {
  const ConfigTable root = parse_config(toml, "bench.toml");
  WorkloadSpec spec;
  spec.requests = 100'000;
  spec.lengths = resolve_kind(root.section("lengths"), length_kinds(), "");
  spec.arrivals = resolve_kind(root.section("arrivals"), arrival_kinds(), "");
  return spec;
}

/// From the specification to the last of 100,000 requests with prompts of one token.
void workload(benchmark::State& state) {
  const WorkloadSpec spec = workload_spec(
      "lengths = {kind = \"uniform\", prompt_max = 1}\narrivals = {kind = \"poisson\", rate_per_s = 8}\n");
  for (auto _ : state) {
    const auto made = make_workload(spec, 1, 50272);
    while (made->next_arrival()) {
      made->on_end(made->take().id, Seconds(0));
    }
  }
  state.SetItemsProcessed(state.iterations() * spec.requests);
}
BENCHMARK(workload)->Unit(benchmark::kMillisecond);

/// 100,000 requests from ShareGPT's 58,787 rows, repeated and shuffled, until the first one is there.
void trace_until_ready(benchmark::State& state) {
  const char* shared = std::getenv("PAGELAB_SHARED");
  const fs::path file = (shared != nullptr ? fs::path(shared) : test::source_dir() / ".." / "shared") /
                        "traces" / "sharegpt_first_turn_llama.csv.xz";
  if (!fs::exists(file)) {
    state.SkipWithError(("no trace at " + file.string()).c_str());
    return;
  }
  const WorkloadSpec spec =
      workload_spec("lengths = {kind = \"trace\", file = \"" + file.string() +
                    "\", min_prompt = 4, min_output = 4, max_total = 2048, repeat = true, shuffle = true}\n"
                    "arrivals = {kind = \"poisson\", rate_per_s = 8}\n");
  for (auto _ : state) {
    benchmark::DoNotOptimize(make_workload(spec, 1, 50272)->take().max_output);
  }
}
BENCHMARK(trace_until_ready)->Unit(benchmark::kMillisecond);

void prompt_tokens(benchmark::State& state) {
  const PromptSource prompts(1, 50272);
  RequestShape shape;
  shape.prompt = Tokens(state.range(0));
  std::int32_t number = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(prompts.make(RequestId(number++), shape).data());
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(prompt_tokens)->Arg(16)->Arg(161)->Arg(2048);

}  // namespace
}  // namespace pagelab
