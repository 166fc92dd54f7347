// FigureRuns: the runs behind a figure of kind "sweep", planned before the first of them starts: for each
// point and seed an experiment (base, then the system's file, then what the figure sets, then x and seed) and
// the folder it runs into; and the way back, from the runs' summaries to curves. Several points may come from
// one run.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "core/policy_registry.h"
#include "experiments/experiment.h"
#include "experiments/reproduce/figure.h"
#include "experiments/reproduce/figure_curve.h"
#include "experiments/reproduce/sweep.h"

namespace pagelab {

class FigureRuns {
 public:
  /// `folder`: the runs go into FOLDER/FIGURE/SERIES/x-X/seed-N, seeds from 1 to `seeds`. Throws InputError,
  /// which names the series.
  FigureRuns(const Figure& figure, const PolicyRegistry& registry, std::int64_t seeds,
             const std::filesystem::path& folder);

  const std::vector<SweepRun>& runs() const { return runs_; }
  /// What is to be said of the runs on the page: fallbacks in use.
  const std::vector<std::string>& notes() const { return notes_; }

  /// The figure's curves from the outcomes, which are parallel to runs(). A point has no value unless all its
  /// seeds ran to their end and finished a request. Throws InputError if a summary lacks a number.
  std::vector<FigureCurve> curves(std::span<const RunOutcome> outcomes) const;

 private:
  struct Point {
    std::size_t series;
    FigureX x;
    SummaryValue y;
    std::size_t first_run;  ///< one run per seed from here
  };

  void plan_points(const FigureSeries& series, std::size_t index, const PolicyRegistry& registry,
                   const std::filesystem::path& folder);
  void plan_categories(const FigureSeries& series, std::size_t index, const PolicyRegistry& registry,
                       const std::filesystem::path& folder);
  /// Plans one run per seed and returns the first one's index.
  std::size_t plan_seeds(const FigureSeries& series, const RunSource& source, const std::string& x_name,
                         const PolicyRegistry& registry, const std::filesystem::path& folder);

  const Figure& figure_;
  std::int64_t seeds_;
  std::vector<SweepRun> runs_;
  std::vector<Point> points_;
  std::vector<std::string> notes_;
};

/// The files of a source's experiment. Where the trace that one of them names is not there, the fallback is
/// in that file's place, and `note` says so; else it stays empty. Throws InputError if neither can be used.
std::vector<std::filesystem::path> usable_experiment(const RunSource& source, std::string& note);

/// `over` laid over `base`.
RunSource joined(const RunSource& base, const RunSource& over);

}  // namespace pagelab
