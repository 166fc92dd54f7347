// One experiment from its parts to its folder: engine, device, clock, workload and recorder put together,
// driven to the end (or until the run is interrupted or fails), and the folder completed either way. `pagelab
// run` and sweeps share it. It prints nothing; what is to be seen while a run goes on, a RunObserver is told.
#pragma once

#include <exception>
#include <filesystem>
#include <memory>
#include <string>

#include <nlohmann/json.hpp>

#include "core/clock.h"
#include "core/engine.h"
#include "experiments/device_factory.h"
#include "experiments/experiment.h"
#include "experiments/interrupt.h"

namespace pagelab {

/// What a run needs besides its folder, made before the folder is, so that what goes wrong leaves nothing
/// behind.
struct RunParts {
  BuiltDevice built;
  std::unique_ptr<Clock> clock;  ///< none: real time, from the first step on
  std::unique_ptr<Workload> workload;
};

/// Throws InputError; see make_device() and make_workload().
RunParts make_run_parts(const Experiment& experiment);

/// Is told of a run while it goes on.
class RunObserver {
 public:
  virtual ~RunObserver() = default;
  virtual void on_step(const Engine&) {}
  virtual void on_refuse(const Request&, const std::string& /*why*/) {}
};

/// A hash of the content of each file that the experiment names, by the key that names it. Folders (of
/// checkpoints) are not looked into. Throws InputError if a file cannot be read.
nlohmann::ordered_json input_hashes(const Experiment& experiment);

/// How a run ended. Its folder is complete in every case, and says so if the run is not.
struct RunResult {
  nlohmann::ordered_json summary;  ///< as in summary.json; null if that could not be written
  bool complete = false;
  std::vector<std::string> warnings;  ///< as in summary.json
  Progress progress;
  double wall_s = 0;           ///< wall clock of the steps
  std::exception_ptr failure;  ///< what ended the run, if something did: policy, ledger, output, device
};

/// Runs the experiment into `folder`, absent or empty. Throws InputError if a policy cannot be made, and
/// OutputError if the folder cannot.
RunResult run_experiment(const Experiment& experiment, RunParts& parts, const PolicyRegistry& registry,
                         const std::filesystem::path& folder, const Interrupt& interrupt,
                         RunObserver& observer);

/// Seconds by kind of operation, of a device that runs a model.
nlohmann::ordered_json operator_seconds(const ModelDevice& device);

}  // namespace pagelab
