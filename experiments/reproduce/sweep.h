// Sweep: many experiments, each in a folder of its own, run by a pool of threads. A run has an engine, a
// device and a workload of its own; threads share nothing but the queue, so what a run writes does not depend
// on how many there are. A run that is already in its folder is not run again (is_done()).
#pragma once

#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "core/policy_registry.h"
#include "experiments/experiment.h"
#include "experiments/interrupt.h"

namespace pagelab {

struct SweepRun {
  std::string about;  ///< for people: "figure 12a, vllm, x = 1.5, seed 1"
  Experiment experiment;
  std::filesystem::path folder;
};

/// What became of a run: a summary, or an error, or neither if the sweep was interrupted before.
struct RunOutcome {
  nlohmann::ordered_json summary;
  std::string error;
  bool kept = false;  ///< was there already
};

struct SweepOptions {
  int jobs = 1;  ///< threads, at least 1
  /// Called after each run with the number of runs done, never by two threads at once. May be empty.
  std::function<void(std::size_t done)> on_done;
};

/// Runs what is not done yet and returns the outcomes, parallel to `runs`. A run that fails does not stop the
/// others; an interrupt does, after the step at hand.
std::vector<RunOutcome> run_sweep(std::span<const SweepRun> runs, const PolicyRegistry& registry,
                                  const Interrupt& interrupt, const SweepOptions& options);

/// The summary of a run that came to its end in this folder, with the same experiment.toml, the same contents
/// of the files that it names, and by this version of the program; null if there is none.
nlohmann::ordered_json done_summary(const SweepRun& run);

}  // namespace pagelab
