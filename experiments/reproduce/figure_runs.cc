#include "experiments/reproduce/figure_runs.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/config.h"
#include "core/error.h"

namespace pagelab {

namespace {

namespace fs = std::filesystem;

/// The trace that an experiment of these files reads its lengths from; empty if it reads none.
fs::path trace_of(std::span<const fs::path> files) {
  const ConfigTable lengths = read_config(files).section("workload").section("lengths");
  return lengths.text({.name = "file", .default_value = "", .path = true});
}

std::string plain_name(std::string name) {
  std::ranges::replace(name, '+', '-');
  return name;
}

void note_once(std::vector<std::string>& notes, std::string note) {
  if (!note.empty() && std::ranges::find(notes, note) == notes.end()) {
    notes.push_back(std::move(note));
  }
}

}  // namespace

std::vector<fs::path> usable_experiment(const RunSource& source, std::string& note) {
  if (source.experiment.empty()) {
    throw InputError("key 'experiment' is missing");
  }
  const fs::path trace = trace_of(source.experiment);
  if (trace.empty() || fs::exists(trace)) {
    return source.experiment;
  }
  std::vector<fs::path> files = source.experiment;
  fs::path& names_it = *std::ranges::find_if(
      files, [&](const fs::path& file) { return trace_of(std::span(&file, 1)) == trace; });
  if (source.fallback.empty()) {
    throw InputError(fmt::format("{} needs the trace {}, which is not there, and the figure has no fallback",
                                 names_it.string(), trace.string()));
  }
  note = fmt::format("The trace {} is not there: {} was used instead of {}.", trace.filename().string(),
                     source.fallback.filename().string(), names_it.filename().string());
  names_it = source.fallback;
  return files;
}

RunSource joined(const RunSource& base, const RunSource& over) {
  RunSource source = base;
  if (!over.experiment.empty()) {
    source.experiment = over.experiment;
    source.fallback = over.fallback;
  }
  source.set.insert(source.set.end(), over.set.begin(), over.set.end());
  return source;
}

FigureRuns::FigureRuns(const Figure& figure, const PolicyRegistry& registry, std::int64_t seeds,
                       const fs::path& folder)
    : figure_(figure), seeds_(seeds) {
  for (std::size_t i = 0; i < figure.series.size(); ++i) {
    const FigureSeries& series = figure.series[i];
    try {
      if (figure.sweep.categories.empty()) {
        plan_points(series, i, registry, folder);
      } else {
        plan_categories(series, i, registry, folder);
      }
    } catch (const InputError& error) {
      throw InputError(fmt::format("{}: series '{}': {}", figure.file.string(), series.name, error.what()));
    }
  }
}

void FigureRuns::plan_points(const FigureSeries& series, std::size_t index, const PolicyRegistry& registry,
                             const fs::path& folder) {
  const SweepFigure& sweep = figure_.sweep;
  for (const FigureX& x : series.points) {
    RunSource source = joined(sweep.source, series.source);
    source.set.insert(source.set.end(), figure_.quick_set.begin(), figure_.quick_set.end());
    source.set.push_back(fmt::format("{}={}", sweep.x_key, x.text));
    points_.push_back({index, x, sweep.y, plan_seeds(series, source, x.text, registry, folder)});
  }
}

void FigureRuns::plan_categories(const FigureSeries& series, std::size_t index,
                                 const PolicyRegistry& registry, const fs::path& folder) {
  std::optional<std::size_t> shared_run;  // of the categories that differ in y alone
  for (const SweepFigure::Category& category : figure_.sweep.categories) {
    const bool shares = category.source.experiment.empty() && category.source.set.empty();
    RunSource source = joined(joined(figure_.sweep.source, category.source), series.source);
    source.set.insert(source.set.end(), figure_.quick_set.begin(), figure_.quick_set.end());
    std::size_t first = 0;
    if (shares && shared_run) {
      first = *shared_run;
    } else {
      first = plan_seeds(series, source, shares ? "all" : category.x.text, registry, folder);
    }
    if (shares) {
      shared_run = first;
    }
    points_.push_back({index, category.x, category.y, first});
  }
}

std::size_t FigureRuns::plan_seeds(const FigureSeries& series, const RunSource& source,
                                   const std::string& x_name, const PolicyRegistry& registry,
                                   const fs::path& folder) {
  std::string note;
  std::vector<fs::path> layers = usable_experiment(source, note);
  layers.push_back(series.system);
  note_once(notes_, std::move(note));
  const std::size_t first = runs_.size();
  for (std::int64_t seed = 1; seed <= seeds_; ++seed) {
    std::vector<std::string> overrides = source.set;
    overrides.push_back(fmt::format("seed={}", seed));
    const std::string name = plain_name(fmt::format("fig{}-{}", figure_.name, series.name));
    runs_.push_back(
        {.about = fmt::format("figure {}, {}, x = {}, seed {}", figure_.name, series.name, x_name, seed),
         .experiment = resolve_experiment(read_config(layers, overrides), name, registry),
         .folder = folder / figure_.name / series.name / ("x-" + x_name) / fmt::format("seed-{}", seed)});
  }
  return first;
}

std::vector<FigureCurve> FigureRuns::curves(std::span<const RunOutcome> outcomes) const {
  std::vector<FigureCurve> curves = figure_.empty_curves();
  for (const Point& point : points_) {
    std::vector<double> values;
    for (const RunOutcome& outcome : outcomes.subspan(point.first_run, static_cast<std::size_t>(seeds_))) {
      if (!outcome.summary.is_null() && outcome.summary["requests"]["finished"] > 0) {
        values.push_back(point.y.of(outcome.summary));
      }
    }
    if (values.size() == static_cast<std::size_t>(seeds_)) {
      curves[point.series].at(point.x).ours = spread_of(values);
    }
  }
  return curves;
}

}  // namespace pagelab
