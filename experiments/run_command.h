// `pagelab run`: reads experiments, runs each to its end (or until it is interrupted or fails), and leaves a
// run folder for each. It puts engine, device, clock, workload and recorder together and owns them for the
// run.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "experiments/interrupt.h"

namespace pagelab {

struct RunOptions {
  std::vector<std::filesystem::path> files;
  std::vector<std::string> overrides;  ///< "a.b=VALUE", for all files
  std::vector<std::string> plugins;    ///< besides those that the files name
  /// The run folder; with several files the folder that theirs go into. Empty: runs/NAME.
  std::filesystem::path out;
  bool quiet = false;  ///< no summary, no log, no progress line
};

/// Returns the exit code: 0, or 130 if a run was interrupted (further files are then not run). All files are
/// read and checked before the first one runs. Throws InputError, and what a run ended with (policy, ledger,
/// output, device); the folder of that run is finished, and says that it is partial, before.
int run_command(const RunOptions& options, Interrupt& interrupt);

}  // namespace pagelab
