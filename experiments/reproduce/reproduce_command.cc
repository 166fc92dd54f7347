#include "experiments/reproduce/reproduce_command.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <optional>
#include <thread>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "core/config.h"
#include "core/error.h"
#include "experiments/output_file.h"
#include "experiments/progress_line.h"
#include "experiments/reproduce/figure_csv.h"
#include "experiments/reproduce/figure_page.h"
#include "experiments/reproduce/figure_record.h"
#include "experiments/reproduce/figure_runs.h"
#include "experiments/reproduce/kernel_figure.h"
#include "experiments/reproduce/plot_script.h"
#include "experiments/reproduce/swap_figure.h"
#include "policies/builtin.h"

namespace pagelab {

namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

/// A figure with the runs that it needs; `first` is its first run among those of all figures.
struct Job {
  Figure figure;
  std::optional<FigureRuns> runs;
  std::size_t first = 0;
};

/// One line on a terminal: runs done, and how long the rest may take.
class SweepLine {
 public:
  explicit SweepLine(std::size_t all) : on_(stderr_is_terminal()), all_(all) {}
  ~SweepLine() {
    if (on_ && visible_) {
      fmt::print(stderr, "\r\x1b[K");
    }
  }
  SweepLine(const SweepLine&) = delete;
  SweepLine& operator=(const SweepLine&) = delete;

  void update(std::size_t done) {
    if (!on_) {
      return;
    }
    const double past = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
    const double rest = past * static_cast<double>(all_ - done) / static_cast<double>(done);
    fmt::print(stderr, "\r{} of {} runs, about {:.0f} s left\x1b[K", done, all_, rest);
    std::fflush(stderr);
    visible_ = true;
  }

 private:
  bool on_;
  bool visible_ = false;
  std::size_t all_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

fs::path out_folder(const ReproduceOptions& options) {
  if (!options.out.empty()) {
    return options.out;
  }
  const std::string name = fs::weakly_canonical(fs::absolute(options.paper)).filename().string();
  return fs::path("reproduced") / (options.quick ? name + "-quick" : name);
}

std::vector<Job> plan(const ReproduceOptions& options, const PolicyRegistry& registry, const fs::path& runs) {
  const std::vector<std::string> names =
      options.figures.empty() ? figure_names(options.paper) : options.figures;
  std::vector<Job> jobs;
  jobs.reserve(names.size());  // plans point to their figures
  for (const std::string& name : names) {
    if (std::ranges::any_of(jobs, [&](const Job& job) { return job.figure.name == name; })) {
      continue;
    }
    Job& job = jobs.emplace_back();
    job.figure = read_figure(options.paper, name, options.quick);
    std::vector<FigureCurve> curves = job.figure.empty_curves();
    if (!job.figure.published.empty()) {
      add_published(job.figure.published, curves);
    }
    if (job.figure.kind == "sweep") {
      job.runs.emplace(job.figure, registry, options.seeds, runs);
    } else if (job.figure.kind == "swap") {
      check_swap_figure(job.figure, registry);
    }
  }
  return jobs;
}

std::vector<SweepRun> all_runs(std::vector<Job>& jobs) {
  std::vector<SweepRun> runs;
  for (Job& job : jobs) {
    job.first = runs.size();
    if (job.runs) {
      runs.insert(runs.end(), job.runs->runs().begin(), job.runs->runs().end());
    }
  }
  return runs;
}

std::vector<RunOutcome> run_all(std::span<const SweepRun> runs, const ReproduceOptions& options,
                                const PolicyRegistry& registry, const Interrupt& interrupt) {
  const int cores = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  SweepLine line(runs.size());
  return run_sweep(runs, registry, interrupt,
                   {.jobs = options.jobs > 0 ? options.jobs : cores,
                    .on_done = [&line](std::size_t done) { line.update(done); }});
}

/// Names each run that failed; returns how many did.
int report_failures(std::span<const SweepRun> runs, std::span<const RunOutcome> outcomes) {
  int failures = 0;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    if (!outcomes[i].error.empty()) {
      spdlog::error("{}: {}", runs[i].about, outcomes[i].error);
      ++failures;
    }
  }
  return failures;
}

/// What the runs of a figure refused, as a note for the page.
void note_refusals(std::span<const RunOutcome> outcomes, std::vector<std::string>& notes) {
  std::int64_t refused = 0;
  for (const RunOutcome& outcome : outcomes) {
    refused += outcome.summary.is_null() ? 0 : outcome.summary["requests"]["refused"].get<std::int64_t>();
  }
  if (refused > 0) {
    notes.push_back(fmt::format("{} requests were refused: they fit into no pool.", refused));
  }
}

FigureRecord record_of(const Job& job, std::span<const RunOutcome> outcomes, const PolicyRegistry& registry,
                       const ReproduceOptions& options, const fs::path& runs) {
  FigureRecord record{.figure = &job.figure,
                      .curves = {},
                      .verdicts = {},
                      .notes = {},
                      .seeds = options.seeds,
                      .quick = options.quick};
  if (job.runs) {
    const auto own = outcomes.subspan(job.first, job.runs->runs().size());
    record.curves = job.runs->curves(own);
    record.notes = job.runs->notes();
    note_refusals(own, record.notes);
  } else if (job.figure.kind == "swap") {
    record.curves = swap_curves(job.figure, registry, record.notes);
  } else {
    spdlog::info("figure {}: measured on this machine, unless it was before", job.figure.name);
    record.curves = kernel_curves(job.figure, runs / job.figure.name);
  }
  if (!job.figure.published.empty()) {
    add_published(job.figure.published, record.curves);
  }
  for (const Claim& claim : job.figure.claims) {
    record.verdicts.push_back(judge(claim, record.curves));
  }
  return record;
}

/// One line per claim; returns how many fail.
int print_verdicts(const FigureRecord& record) {
  int failures = 0;
  for (std::size_t i = 0; i < record.verdicts.size(); ++i) {
    const Verdict& verdict = record.verdicts[i];
    fmt::print("fig{:<9} {}  {}: {}\n", record.figure->name, verdict.holds ? "holds" : "FAILS",
               record.figure->claims[i].text, verdict.detail);
    failures += verdict.holds ? 0 : 1;
  }
  return failures;
}

void draw(const fs::path& out, std::span<const std::string> names) {
  for (const std::string& name : names) {
    for (const char* type : {".svg", ".png"}) {
      fs::remove(out / ("fig" + name + type));
    }
  }
  if (const std::string why = draw_figures(out, names); !why.empty()) {
    spdlog::warn("no plots: {}", why);
  }
}

/// What the paper's README is headed, else the folder's name.
std::string paper_title(const fs::path& paper) {
  const fs::path readme = paper / "README.md";
  if (fs::exists(readme)) {
    const std::string text = read_text_file(readme);
    if (text.starts_with("# ")) {
      return text.substr(2, text.find('\n') - 2);
    }
  }
  return fs::weakly_canonical(fs::absolute(paper)).filename().string();
}

/// claims.json and index.html, of all figures that `out` holds.
void write_overview(const fs::path& paper, const fs::path& out) {
  const std::vector<Json> records = read_figure_records(out, figure_names(paper));
  Json claims = Json::array();
  for (const Json& record : records) {
    for (const Json& claim : record["claims"]) {
      Json entry = {{"figure", record["figure"]}, {"quick", record["quick"]}, {"seeds", record["seeds"]}};
      entry.update(claim);
      claims.push_back(std::move(entry));
    }
  }
  write_file(out / "claims.json", claims.dump(2) + "\n");
  write_file(out / "index.html", figure_page(paper_title(paper), records, out));
}

}  // namespace

int reproduce_command(const ReproduceOptions& options, Interrupt& interrupt) {
  PolicyRegistry registry;
  register_builtin_policies(registry);
  const fs::path out = out_folder(options);
  const fs::path folder = out / (options.quick ? "runs-quick" : "runs");
  std::vector<Job> jobs = plan(options, registry, folder);
  const std::vector<SweepRun> runs = all_runs(jobs);
  spdlog::info("{} figures, {} runs", jobs.size(), runs.size());
  interrupt.defer();
  const std::vector<RunOutcome> outcomes = run_all(runs, options, registry, interrupt);
  if (interrupt.requested()) {
    spdlog::warn("interrupted; the runs that are done stay in {} and are not run again", folder.string());
    return Interrupt::exit_code;
  }
  interrupt.end_at_once();
  if (const auto kept = std::ranges::count(outcomes, true, &RunOutcome::kept); kept > 0) {
    spdlog::info("{} of {} runs were done before", kept, runs.size());
  }
  const int failed_runs = report_failures(runs, outcomes);
  fs::create_directories(out);
  int failed_claims = 0;
  std::vector<std::string> names;
  for (const Job& job : jobs) {
    const FigureRecord record = record_of(job, outcomes, registry, options, folder);
    write_figure(record, out);
    failed_claims += print_verdicts(record);
    names.push_back(job.figure.name);
  }
  std::fflush(stdout);
  draw(out, names);
  write_overview(options.paper, out);
  spdlog::info("figures in {}", (out / "index.html").string());
  return failed_runs > 0 || (options.require_claims && failed_claims > 0) ? 1 : 0;
}

}  // namespace pagelab
