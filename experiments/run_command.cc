#include "experiments/run_command.h"

#include <chrono>
#include <cstdio>
#include <exception>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "experiments/experiment.h"
#include "experiments/progress_line.h"
#include "experiments/run_experiment.h"
#include "experiments/run_folder.h"
#include "experiments/summary.h"
#include "policies/builtin.h"

namespace pagelab {

namespace {

using WallClock = std::chrono::steady_clock;

/// Keeps the progress line and names the refused requests on stderr.
class NamingObserver final : public RunObserver {
 public:
  explicit NamingObserver(ProgressLine& line) : line_(line) {}

  void on_step(const Engine& engine) override { line_.update(engine); }
  void on_refuse(const Request& request, const std::string& why) override {
    line_.clear();
    if (refused_ < most_named_) {
      spdlog::warn("request {} is refused: {}", request.id.value(), why);
    } else if (refused_ == most_named_) {
      spdlog::warn("further refused requests are named in requests.csv only");
    }
    ++refused_;
  }

 private:
  static constexpr int most_named_ = 20;
  ProgressLine& line_;
  int refused_ = 0;
};

void log_wall_clock(const Progress& progress, double wall_s, const BuiltDevice& built) {
  spdlog::info("{} steps in {:.2f} s of wall clock, {:.1f} computed and {:.1f} new tokens/s of wall clock",
               progress.steps, wall_s, static_cast<double>(progress.tokens.value()) / wall_s,
               static_cast<double>(progress.tokens_produced.value()) / wall_s);
  if (built.model_device == nullptr) {
    return;
  }
  std::string shares;
  const auto by_operator = operator_seconds(*built.model_device);
  for (const auto& [op, seconds] : by_operator.items()) {
    shares +=
        fmt::format("{}{} {:.1f} %", shares.empty() ? "" : ", ", op, 100 * seconds.get<double>() / wall_s);
  }
  spdlog::info("share of that by operator: {}", shares);
}

RunParts make_parts(const Experiment& experiment) {
  const auto start = WallClock::now();
  RunParts parts = make_run_parts(experiment);
  spdlog::info("{}: model and memory ready after {:.2f} s", experiment.name,
               std::chrono::duration<double>(WallClock::now() - start).count());
  return parts;
}

/// Runs one experiment; returns whether it came to its end.
bool run_one(const Experiment& experiment, const PolicyRegistry& registry, const std::filesystem::path& path,
             bool quiet, Interrupt& interrupt) {
  RunParts parts = make_parts(experiment);
  const char* time_word = parts.clock ? "simulated" : "real";
  ProgressLine line(!quiet && stderr_is_terminal(), parts.workload->total(), time_word);
  NamingObserver observer(line);
  interrupt.defer();
  const RunResult result = run_experiment(experiment, parts, registry, path, interrupt, observer);
  line.clear();
  if (!quiet && !result.summary.empty()) {
    fmt::print("{}", summary_text(result.summary));
    std::fflush(stdout);
  }
  for (const std::string& warning : result.warnings) {
    spdlog::warn("{}", warning);
  }
  log_wall_clock(result.progress, result.wall_s, parts.built);
  spdlog::info("{} results in {}", result.complete ? "all" : "PARTIAL", path.string());
  if (result.failure) {
    std::rethrow_exception(result.failure);
  }
  interrupt.end_at_once();
  return result.complete;
}

std::filesystem::path folder_for(const Experiment& experiment, const RunOptions& options) {
  if (options.out.empty()) {
    return unused_folder("runs", experiment.name);
  }
  if (options.files.size() > 1) {
    return unused_folder(options.out, experiment.name);
  }
  require_empty(options.out);
  return options.out;
}

}  // namespace

int run_command(const RunOptions& options, Interrupt& interrupt) {
  PolicyRegistry registry;
  register_builtin_policies(registry);
  std::vector<Experiment> experiments;
  for (const std::filesystem::path& file : options.files) {
    experiments.push_back(read_experiment(file, options.overrides, registry, options.plugins));
  }
  for (const Experiment& experiment : experiments) {
    const std::filesystem::path folder = folder_for(experiment, options);
    if (!run_one(experiment, registry, folder, options.quiet, interrupt) || interrupt.requested()) {
      return Interrupt::exit_code;
    }
  }
  return 0;
}

}  // namespace pagelab
