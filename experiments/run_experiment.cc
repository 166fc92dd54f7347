#include "experiments/run_experiment.h"

#include <algorithm>
#include <chrono>
#include <new>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "experiments/build_info.h"
#include "experiments/file_hash.h"
#include "experiments/policy_census.h"
#include "experiments/run_folder.h"
#include "experiments/workload.h"
#include "models/timed_device.h"

namespace pagelab {

namespace {

using Json = nlohmann::ordered_json;
using WallClock = std::chrono::steady_clock;

Json modelled_seconds(const SimDevice& device) {
  Json json;
  for (int i = 0; i < static_cast<int>(StepCostKind::count_); ++i) {
    const auto kind = static_cast<StepCostKind>(i);
    json[std::string(name_of(kind))] = device.spent()[kind];
  }
  return json;
}

/// Hands everything on to the run folder, and refused requests to the observer first.
class ObservedFolder final : public Recorder {
 public:
  ObservedFolder(RunFolder& folder, RunObserver& observer) : folder_(folder), observer_(observer) {}

  void on_step(const StepRecord& record, std::span<const Decision> decisions) override {
    folder_.on_step(record, decisions);
  }
  void on_finish(const SequenceGroup& group) override { folder_.on_finish(group); }
  void on_refuse(const Request& request, Seconds now, const std::string& why) override {
    observer_.on_refuse(request, why);
    folder_.on_refuse(request, now, why);
  }

 private:
  RunFolder& folder_;
  RunObserver& observer_;
};

Json value_json(const ParameterValue& value) {
  return std::visit([](const auto& v) { return Json(v); }, value);
}

/// Where the times come from: a linear cost, the model of a simulated device, or the wall clock.
const char* clock_word(const Experiment& experiment, const BuiltDevice& built) {
  return experiment.step_cost ? "virtual" : built.virtual_time ? "modelled" : "real";
}

Json provenance_of(const Experiment& experiment, const BuiltDevice& built) {
  Json policies = Json::object();
  for (const PolicyChoice& choice : experiment.policies) {
    Json& policy = policies[choice.axis] = {{"name", choice.name}};
    if (!choice.needs.empty()) {
      policy["needs"] = choice.needs;
    }
    for (const auto& plugin : experiment.plugins) {
      if (choice.plugin == plugin->file()) {
        policy["plugin"] = {{"file", plugin->file().filename().string()},
                            {"hash", plugin->hash()},
                            {"assertions", plugin->abi().assertions}};
      }
    }
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
               {"clock", clock_word(experiment, built)}};
  json.update(built.provenance);
  json["oracle"] = std::ranges::any_of(experiment.policies,
                                       [](const PolicyChoice& choice) { return choice.needs == "oracle"; });
  json["policies"] = std::move(policies);
  json["inputs"] = input_hashes(experiment);
  return json;
}

/// The groups that are still alive go to the folder, in the order of their requests.
void record_unfinished(const Engine& engine, RunFolder& folder) {
  const Queues& queues = engine.queues();
  std::vector<const SequenceGroup*> left(queues.running.begin(), queues.running.end());
  left.insert(left.end(), queues.swapped.begin(), queues.swapped.end());
  left.insert(left.end(), queues.waiting.begin(), queues.waiting.end());
  left.insert(left.end(), queues.ended.begin(), queues.ended.end());
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

const Parameters& parameters_of(const Experiment& experiment, std::string_view axis) {
  return std::ranges::find(experiment.policies, axis, &PolicyChoice::axis)->parameters;
}

/// What the policies were asked goes into the summary.
void tell(const PolicyCensus& census, RunEnd& end) {
  for (const PolicyCount& count : census.counts()) {
    end.census[count.axis] = {{"asked", count.asked},
                              {"compared", count.compared},
                              {"differed", count.differed},
                              {"standard", count.standard}};
  }
  end.warnings = census.warnings();
}

Outcome drive(Engine& engine, const Interrupt& interrupt, RunObserver& observer) {
  try {
    while (!interrupt.requested()) {
      if (!engine.step()) {
        return {};
      }
      observer.on_step(engine);
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

}  // namespace

Json input_hashes(const Experiment& experiment) {
  Json hashes = Json::object();
  for (const Experiment::Section& section : experiment.sections) {
    for (const Parameters::Entry& entry : section.parameters) {
      const auto* file = entry.spec.path ? std::get_if<std::string>(&entry.value) : nullptr;
      if (file != nullptr && std::filesystem::is_regular_file(*file)) {
        hashes[fmt::format("{}.{}", section.path, entry.spec.name)] = file_hash(*file);
      }
    }
  }
  for (const auto& plugin : experiment.plugins) {
    hashes[fmt::format("plugins.{}", plugin->file().filename().string())] = plugin->hash();
  }
  return hashes;
}

RunParts make_run_parts(const Experiment& experiment) {
  RunParts parts;
  parts.built = make_device(experiment.model, experiment.device, experiment.seed);
  parts.workload = make_workload(experiment.workload, experiment.seed, parts.built.vocabulary);
  if (experiment.step_cost) {
    parts.built.device = std::make_unique<TimedDevice>(std::move(parts.built.device), *experiment.step_cost);
    parts.clock = std::make_unique<VirtualClock>();
  } else if (parts.built.virtual_time) {
    parts.clock = std::make_unique<VirtualClock>();
  }
  return parts;
}

RunResult run_experiment(const Experiment& experiment, RunParts& parts, const PolicyRegistry& registry,
                         const std::filesystem::path& path, const Interrupt& interrupt,
                         RunObserver& observer) {
  PolicyCensus census;
  PolicySet policies = make_policies(experiment, registry);
  if (experiment.output.census) {
    census.watch(policies, registry, [&](std::string_view axis) { return parameters_of(experiment, axis); });
  }
  RunFolder folder(path, {.steps = experiment.output.steps,
                          .requests = experiment.output.requests,
                          .decisions = experiment.output.decisions,
                          .trace = experiment.output.trace,
                          .experiment_toml = experiment_toml(experiment, path),
                          .provenance = provenance_of(experiment, parts.built)});
  ObservedFolder recorder(folder, observer);
  const auto start = WallClock::now();
  if (!parts.clock) {
    parts.clock = std::make_unique<RealClock>();  // time runs from here, not from when the weights were made
  }
  Engine engine(*parts.built.device, *parts.clock, *parts.workload, std::move(policies), recorder);
  Outcome outcome = drive(engine, interrupt, observer);
  RunResult result;
  result.wall_s = std::chrono::duration<double>(WallClock::now() - start).count();
  if (!experiment.step_cost && parts.built.model_device != nullptr) {
    outcome.end.operator_seconds = operator_seconds(*parts.built.model_device);
  }
  if (!experiment.step_cost && parts.built.sim_device != nullptr) {
    outcome.end.operator_seconds = modelled_seconds(*parts.built.sim_device);
  }
  tell(census, outcome.end);
  result.summary = complete(folder, engine, outcome);
  result.complete = outcome.end.complete;
  result.warnings = outcome.end.warnings;
  result.progress = engine.progress();
  result.failure = outcome.failure;
  return result;
}

Json operator_seconds(const ModelDevice& device) {
  Json json;
  for (int kind = 0; kind < static_cast<int>(kernels::OpKind::count_); ++kind) {
    const auto op = static_cast<kernels::OpKind>(kind);
    json[std::string(kernels::name_of(op))] = device.seconds_in(op);
  }
  return json;
}

}  // namespace pagelab
