// RunFolder: everything that a run leaves behind (DESIGN, section 6), written while it goes on. It owns the
// folder's files. Each file is complete or absent (output_file.h); finish() completes them, whether the run
// came to its end or not, and writes summary.json last. It decides nothing and holds no clock: all times are
// those of the engine.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>

#include <nlohmann/json.hpp>

#include "core/recorder.h"
#include "experiments/decision_log.h"
#include "experiments/requests_csv.h"
#include "experiments/run_statistics.h"
#include "experiments/steps_csv.h"
#include "experiments/summary.h"
#include "experiments/timeline.h"

namespace pagelab {

class RunFolder final : public Recorder {
 public:
  struct Options {
    bool steps = true;                                                     ///< write steps.csv
    bool requests = true;                                                  ///< write requests.csv
    bool decisions = false;                                                ///< write decisions.jsonl
    bool trace = true;                                                     ///< write trace.json
    std::string experiment_toml{};                                         ///< the content of experiment.toml
    nlohmann::ordered_json provenance = nlohmann::ordered_json::object();  ///< a member of summary.json
  };

  /// Creates the folder and its files. Throws OutputError; requires that the folder is absent or empty.
  RunFolder(const std::filesystem::path& folder, Options options);

  /// Throw LedgerError (steps.csv or not) and OutputError; the run should then end with finish().
  void on_step(const StepRecord& record, std::span<const Decision> decisions) override;
  void on_finish(const SequenceGroup& group) override;
  void on_refuse(const Request& request, Seconds now, const std::string& why) override;

  /// A request that a partial run leaves behind at `now`. Throws OutputError.
  void on_unfinished(const SequenceGroup& group, Seconds now);

  /// Completes all files; call once. Tries every file even if another fails, then throws the first
  /// OutputError; summary.json then says that the run is not complete. Returns the summary.
  nlohmann::ordered_json finish(RunEnd end);

  const std::filesystem::path& path() const { return folder_; }

 private:
  std::filesystem::path folder_;
  nlohmann::ordered_json provenance_;
  OutputFile summary_;
  std::optional<StepsCsv> steps_;
  std::optional<RequestsCsv> requests_;
  std::optional<DecisionLog> decisions_;
  std::optional<Timeline> timeline_;
  RunStatistics statistics_;
};

/// schema.json: unit, type and meaning of every column of every CSV file, and what the other files hold.
nlohmann::ordered_json schema_json();

/// A folder for a run called `name` under `parent` that is not there yet: NAME, or NAME-2, NAME-3, ...
std::filesystem::path unused_folder(const std::filesystem::path& parent, const std::string& name);
/// Throws OutputError unless `folder` is absent or an empty folder.
void require_empty(const std::filesystem::path& folder);

}  // namespace pagelab
