#include "experiments/run_command.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <memory>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "core/clock.h"
#include "core/engine.h"
#include "core/error.h"
#include "experiments/build_info.h"
#include "experiments/device_factory.h"
#include "experiments/experiment.h"
#include "experiments/progress_line.h"
#include "experiments/run_folder.h"
#include "experiments/workload.h"
#include "models/timed_device.h"
#include "policies/builtin.h"

namespace pagelab {

namespace {

using Json = nlohmann::ordered_json;
using WallClock = std::chrono::steady_clock;

double seconds_since(WallClock::time_point start) {
  return std::chrono::duration<double>(WallClock::now() - start).count();
}

/// Hands everything on to the run folder and names the refused requests on stderr.
class NamingRecorder final : public Recorder {
 public:
  NamingRecorder(RunFolder& folder, ProgressLine& line) : folder_(folder), line_(line) {}

  void on_step(const StepRecord& record, std::span<const Decision> decisions) override {
    folder_.on_step(record, decisions);
  }
  void on_finish(const SequenceGroup& group) override { folder_.on_finish(group); }
  void on_refuse(const Request& request, Seconds now, const std::string& why) override {
    line_.clear();
    if (refused_ < most_named_) {
      spdlog::warn("request {} is refused: {}", request.id.value(), why);
    } else if (refused_ == most_named_) {
      spdlog::warn("further refused requests are named in requests.csv only");
    }
    ++refused_;
    folder_.on_refuse(request, now, why);
  }

 private:
  static constexpr int most_named_ = 20;
  RunFolder& folder_;
  ProgressLine& line_;
  int refused_ = 0;
};

Json value_json(const ParameterValue& value) {
  return std::visit([](const auto& v) { return Json(v); }, value);
}

Json provenance_of(const Experiment& experiment, const BuiltDevice& built) {
  Json policies = Json::object();
  for (const PolicyChoice& choice : experiment.policies) {
    Json& policy = policies[choice.axis] = {{"name", choice.name}};
    for (const Parameters::Entry& entry : choice.parameters) {
      policy[entry.spec.name] = value_json(entry.value);
    }
  }
  Json json = {{"pagelab", build_version()},
               {"commit", build_commit()},
               {"compiler", build_compiler()},
               {"build_type", build_type()},
               {"experiment", experiment.name},
               {"seed", experiment.seed},
               {"clock", experiment.step_cost ? "virtual" : "real"}};
  json.update(built.provenance);
  json["policies"] = std::move(policies);
  return json;
}

/// The groups that are still alive go to the folder, in the order of their requests.
void record_unfinished(const Engine& engine, RunFolder& folder) {
  const Queues& queues = engine.queues();
  std::vector<const SequenceGroup*> left(queues.running.begin(), queues.running.end());
  left.insert(left.end(), queues.swapped.begin(), queues.swapped.end());
  left.insert(left.end(), queues.waiting.begin(), queues.waiting.end());
  std::ranges::sort(left, {}, [](const SequenceGroup* group) { return group->request.id; });
  for (const SequenceGroup* group : left) {
    folder.on_unfinished(*group, engine.progress().now);
  }
}

/// How a run ended; `failure` is what ended it, if something did.
struct Outcome {
  RunEnd end;
  std::exception_ptr failure;
};

Outcome failed() {
  try {
    throw;
  } catch (const std::bad_alloc&) {
    return {{.complete = false, .reason = "out of memory"}, std::current_exception()};
  } catch (const std::exception& error) {
    return {{.complete = false, .reason = error.what()}, std::current_exception()};
  }
}

Outcome drive(Engine& engine, ProgressLine& line, const Interrupt& interrupt) {
  try {
    while (!interrupt.requested()) {
      if (!engine.step()) {
        return {};
      }
      line.update(engine);
    }
    return {{.complete = false, .reason = "interrupted"}, nullptr};
  } catch (...) {
    return failed();
  }
}

/// Completes the folder; a failure here comes second to one of the run.
Json complete(RunFolder& folder, const Engine& engine, Outcome& outcome) {
  try {
    if (!outcome.end.complete) {
      record_unfinished(engine, folder);
    }
  } catch (const OutputError&) {
    if (!outcome.failure) {
      outcome = failed();
    }
  }
  try {
    return folder.finish(outcome.end);
  } catch (const OutputError&) {
    if (!outcome.failure) {
      outcome = failed();
    }
    return {};
  }
}

Json operator_seconds(const ModelDevice& device) {
  Json json;
  for (int kind = 0; kind < static_cast<int>(kernels::OpKind::count_); ++kind) {
    const auto op = static_cast<kernels::OpKind>(kind);
    json[std::string(kernels::name_of(op))] = device.seconds_in(op);
  }
  return json;
}

void log_wall_clock(const Progress& progress, double wall_s, const BuiltDevice& built) {
  spdlog::info("{} steps in {:.2f} s of wall clock, {:.1f} computed and {:.1f} new tokens/s of wall clock",
               progress.steps, wall_s, static_cast<double>(progress.tokens.value()) / wall_s,
               static_cast<double>(progress.tokens_produced.value()) / wall_s);
  if (built.model_device == nullptr) {
    return;
  }
  std::string shares;
  const Json by_operator = operator_seconds(*built.model_device);
  for (const auto& [op, seconds] : by_operator.items()) {
    shares +=
        fmt::format("{}{} {:.1f} %", shares.empty() ? "" : ", ", op, 100 * seconds.get<double>() / wall_s);
  }
  spdlog::info("share of that by operator: {}", shares);
}

/// What a run needs besides its folder, made before the folder is, so that what goes wrong leaves nothing
/// behind.
struct Parts {
  BuiltDevice built;
  std::unique_ptr<Clock> clock;
  std::unique_ptr<Workload> workload;
};

Parts make_parts(const Experiment& experiment) {
  const auto start = WallClock::now();
  Parts parts;
  parts.built = make_device(experiment.model, experiment.device, experiment.seed);
  parts.workload = make_workload(experiment.workload, experiment.seed, parts.built.vocabulary);
  if (experiment.step_cost) {
    parts.built.device = std::make_unique<TimedDevice>(std::move(parts.built.device), *experiment.step_cost);
    parts.clock = std::make_unique<VirtualClock>();
  }
  spdlog::info("{}: model and memory ready after {:.2f} s", experiment.name, seconds_since(start));
  return parts;
}

/// Runs one experiment; returns whether it came to its end.
bool run_one(const Experiment& experiment, const PolicyRegistry& registry, const std::filesystem::path& path,
             bool quiet, Interrupt& interrupt) {
  Parts parts = make_parts(experiment);
  const char* time_word = experiment.step_cost ? "simulated" : "real";
  ProgressLine line(!quiet && stderr_is_terminal(), parts.workload->total(), time_word);
  interrupt.defer();
  RunFolder folder(path, {.decisions = experiment.output.decisions,
                          .trace = experiment.output.trace,
                          .experiment_toml = experiment_toml(experiment, path),
                          .provenance = provenance_of(experiment, parts.built)});
  NamingRecorder recorder(folder, line);
  const auto start = WallClock::now();
  if (!parts.clock) {
    parts.clock = std::make_unique<RealClock>();  // time runs from here, not from when the weights were made
  }
  Engine engine(*parts.built.device, *parts.clock, *parts.workload, make_policies(experiment, registry),
                recorder);
  Outcome outcome = drive(engine, line, interrupt);
  line.clear();
  const double wall_s = seconds_since(start);
  if (!experiment.step_cost && parts.built.model_device != nullptr) {
    outcome.end.operator_seconds = operator_seconds(*parts.built.model_device);
  }
  const Json summary = complete(folder, engine, outcome);
  if (!quiet && !summary.empty()) {
    fmt::print("{}", summary_text(summary));
    std::fflush(stdout);
  }
  log_wall_clock(engine.progress(), wall_s, parts.built);
  spdlog::info("{} results in {}", outcome.end.complete ? "all" : "PARTIAL", path.string());
  if (outcome.failure) {
    std::rethrow_exception(outcome.failure);
  }
  interrupt.end_at_once();
  return outcome.end.complete;
}

std::filesystem::path folder_for(const Experiment& experiment, const RunOptions& options) {
  if (options.out.empty()) {
    return unused_folder("runs", experiment.name);
  }
  if (options.files.size() > 1) {
    return unused_folder(options.out, experiment.name);
  }
  require_empty(options.out);
  return options.out;
}

}  // namespace

int run_command(const RunOptions& options, Interrupt& interrupt) {
  PolicyRegistry registry;
  register_builtin_policies(registry);
  std::vector<Experiment> experiments;
  for (const std::filesystem::path& file : options.files) {
    experiments.push_back(read_experiment(file, options.overrides, registry));
  }
  for (const Experiment& experiment : experiments) {
    const std::filesystem::path folder = folder_for(experiment, options);
    if (!run_one(experiment, registry, folder, options.quiet, interrupt) || interrupt.requested()) {
      return Interrupt::exit_code;
    }
  }
  return 0;
}

}  // namespace pagelab
