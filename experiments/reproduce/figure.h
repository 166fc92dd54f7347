// Figure: one figure of a paper as its file describes it (papers/README.md has the format): axes, series,
// which experiments make its points, what was published, and the paper's claims. Reading checks types and
// names and reads no experiment; figure_runs.h makes runs of it.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/ids.h"
#include "core/parameters.h"
#include "experiments/reproduce/claims.h"
#include "experiments/reproduce/figure_curve.h"
#include "experiments/reproduce/summary_value.h"

namespace pagelab {

struct FigureAxis {
  std::string label;
  std::string scale;          ///< linear, log or category
  std::optional<double> max;  ///< of what is drawn
};

/// Which experiment a run is made of, and values in place of the files'. What a part of a figure leaves empty
/// is that of the part above it; the texts of `set` add up.
struct RunSource {
  std::vector<std::filesystem::path> experiment;  ///< files, each laid over those before it
  std::filesystem::path fallback;  ///< instead of the file that names a trace which is not there
  TextList set;                    ///< "key=value"
};

/// kind = "sweep": each point is one run per seed.
struct SweepFigure {
  std::string x_key;  ///< of the experiment, that x sets; empty with categories
  SummaryValue y;
  RunSource source;

  struct Category {
    FigureX x;
    SummaryValue y;
    RunSource source;
  };
  std::vector<Category> categories;
};

/// kind = "kernel": this machine's attention kernels over paged and over contiguous KV, by context and batch.
struct KernelFigure {
  IntegerList contexts;
  IntegerList batches;
  std::int32_t heads = 0;
  std::int32_t head_size = 0;
  std::int32_t block_size = 0;
  std::int32_t threads = 0;  ///< 0: all cores
  std::string paged;         ///< the series are called NAME_bsBATCH
  std::string contiguous;
};

/// kind = "swap": milliseconds that a device takes to swap tokens or to compute them again, by block size.
struct SwapFigure {
  RunSource source;
  Tokens tokens;
  IntegerList block_sizes;
};

struct FigureSeries {
  std::string name;              ///< in CSV files
  std::string label;             ///< for people
  std::filesystem::path system;  ///< the file whose policies it runs; empty unless kind = "sweep"
  RunSource source;
  std::vector<FigureX> points;  ///< empty with categories, whose x are the points
};

struct Figure {
  std::string name;  ///< the file's stem: "12a"
  std::filesystem::path file;
  std::string title;
  std::string measured;  ///< one line: what is measured, what simulated, what taken from the paper
  std::string kind;      ///< sweep, kernel or swap
  FigureAxis x, y;
  std::filesystem::path published;  ///< empty: nothing is published
  SweepFigure sweep;
  KernelFigure kernel;
  SwapFigure swap;
  std::vector<FigureSeries> series;
  TextList quick_set;  ///< wins over what the series set; empty unless the figure was read for a quick look
  std::vector<Claim> claims;

  /// One curve per series with its points, nothing in them yet.
  std::vector<FigureCurve> empty_curves() const;
};

/// The names of a paper folder's figures, in the order of their numbers. Throws InputError if it has none.
std::vector<std::string> figure_names(const std::filesystem::path& paper);

/// Reads figures/NAME.toml of a paper folder. With `quick` the [quick] section applies: shorter runs, fewer
/// points. Throws InputError that names file, line and key; an unknown figure is told with those there are.
Figure read_figure(const std::filesystem::path& paper, const std::string& name, bool quick);

}  // namespace pagelab
