// `pagelab reproduce`: runs the experiments behind a paper's figures and puts ours beside the published: a
// CSV file and a plot per figure, a verdict per claim, one page for all. What was run before is not run
// again. The folder of a paper is data (papers/README.md).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "experiments/interrupt.h"

namespace pagelab {

struct ReproduceOptions {
  std::filesystem::path paper;       ///< the paper's folder
  std::vector<std::string> figures;  ///< empty: all
  std::int64_t seeds = 1;            ///< runs of each point, seeded 1, 2, ...
  bool quick = false;                ///< what the figures' [quick] sections say
  std::filesystem::path out;         ///< empty: reproduced/PAPER, with "-quick" for a quick look
  int jobs = 0;                      ///< runs at a time; 0: one per core
  bool require_claims = false;       ///< a claim that fails is an error
};

/// Returns the exit code: 0; 1 if a run failed, or a claim with require_claims; 130 if interrupted, when the
/// runs that are done stay and no figure is written. All figures and experiments are read and checked before
/// the first run. Throws InputError and OutputError.
int reproduce_command(const ReproduceOptions& options, Interrupt& interrupt);

}  // namespace pagelab
