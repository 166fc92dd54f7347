#include "experiments/reproduce/sweep.h"

#include <atomic>
#include <exception>
#include <mutex>
#include <thread>

#include <fmt/format.h>

#include "core/config.h"
#include "core/error.h"
#include "experiments/build_info.h"
#include "experiments/run_experiment.h"

namespace pagelab {

namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

/// The content of a file; none if it cannot be read.
std::optional<std::string> content_of(const fs::path& file) {
  try {
    return read_text_file(file);
  } catch (const InputError&) {
    return std::nullopt;
  }
}

RunOutcome run_anew(const SweepRun& run, const PolicyRegistry& registry, const Interrupt& interrupt) {
  fs::remove_all(run.folder);
  RunParts parts = make_run_parts(run.experiment);
  RunObserver observer;
  RunResult result = run_experiment(run.experiment, parts, registry, run.folder, interrupt, observer);
  if (result.failure) {
    std::rethrow_exception(result.failure);
  }
  return result.complete ? RunOutcome{.summary = std::move(result.summary), .error = {}} : RunOutcome{};
}

RunOutcome outcome_of(const SweepRun& run, const PolicyRegistry& registry, const Interrupt& interrupt) {
  try {
    if (Json summary = done_summary(run); !summary.is_null()) {
      return {.summary = std::move(summary), .error = {}, .kept = true};
    }
    return run_anew(run, registry, interrupt);
  } catch (const std::bad_alloc&) {
    return {.summary = {}, .error = "out of memory"};
  } catch (const std::exception& error) {
    return {.summary = {}, .error = error.what()};
  }
}

}  // namespace

Json done_summary(const SweepRun& run) {
  const auto toml = content_of(run.folder / "experiment.toml");
  const auto text = content_of(run.folder / "summary.json");
  if (!toml || !text || *toml != experiment_toml(run.experiment, run.folder)) {
    return {};
  }
  Json summary = Json::parse(*text, nullptr, false);
  if (!summary.is_object() || !summary.value("complete", false)) {
    return {};
  }
  const Json provenance = summary.value("provenance", Json::object());
  const bool same = provenance.value("commit", "") == build_commit() &&
                    provenance.value("inputs", Json()) == input_hashes(run.experiment);
  return same ? summary : Json();
}

std::vector<RunOutcome> run_sweep(std::span<const SweepRun> runs, const PolicyRegistry& registry,
                                  const Interrupt& interrupt, const SweepOptions& options) {
  std::vector<RunOutcome> outcomes(runs.size());
  std::atomic<std::size_t> next = 0;
  std::mutex mutex;
  std::size_t done = 0;
  const auto work = [&] {
    for (std::size_t i = next++; i < runs.size() && !interrupt.requested(); i = next++) {
      outcomes[i] = outcome_of(runs[i], registry, interrupt);
      const std::lock_guard lock(mutex);
      ++done;
      if (options.on_done) {
        options.on_done(done);
      }
    }
  };
  std::vector<std::jthread> threads;
  for (int i = 1; i < options.jobs; ++i) {
    threads.emplace_back(work);
  }
  work();
  threads.clear();  // joins
  return outcomes;
}

}  // namespace pagelab
