#include "experiments/reproduce/sweep.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include <fmt/format.h>

#include "core/config.h"
#include "experiments/reproduce/figure_runs.h"
#include "policies/builtin.h"
#include "tests/experiments/files.h"
#include "tests/support/source_dir.h"

namespace pagelab {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr const char* base = R"(
[model]
shape = "opt-125m"
[device]
kind = "sim"
description = "{}/experiments/devices/a100-40gb.toml"
device_blocks = 200
[workload]
requests = 20
[workload.lengths]
kind = "uniform"
prompt_max = 40
output_max = 30
[workload.arrivals]
kind = "poisson"
rate_per_s = 20.0
[sampling]
forced_output = true
[output]
trace = false
)";

constexpr const char* figure_text = R"(title = "t"
measured = "m"
y_label = "y"
[sweep]
x = "workload.arrivals.rate_per_s"
y = "latency_s.mean"
experiment = ["base.toml"]
[points]
small = [10, 20]
large = [20]
[quick]
set = ["workload.requests=3"]
[[series]]
system = "small"
set = ["workload.requests=10"]
[[series]]
system = "large"
)";

class SweepTest : public ::testing::Test {
 protected:
  SweepTest() {
    register_builtin_policies(registry);
    folder.write("base.toml", fmt::format(fmt::runtime(base), test::source_dir().string()));
    folder.write("systems/small.toml", "[policy.batching]\nmax_sequences = 1\n");
    folder.write("systems/large.toml", "[policy.batching]\nmax_sequences = 100\n");
  }
  FigureRuns plan(const std::string& text, std::int64_t seeds = 1, bool quick = false) {
    folder.write("figures/1.toml", text);
    figure = read_figure(folder.path(), "1", quick);
    return {figure, registry, seeds, folder.path() / "runs"};
  }
  std::vector<RunOutcome> run(const FigureRuns& runs, int jobs = 1) {
    return run_sweep(runs.runs(), registry, interrupt, {.jobs = jobs, .on_done = {}});
  }
  static int kept(const std::vector<RunOutcome>& outcomes) {
    return static_cast<int>(std::ranges::count(outcomes, true, &RunOutcome::kept));
  }
  static std::string replaced(std::string text, const std::string& from, const std::string& to) {
    return text.replace(text.find(from), from.size(), to);
  }

  test::TemporaryFolder folder;
  PolicyRegistry registry;
  Interrupt interrupt;
  Figure figure;
};

TEST_F(SweepTest, ARunIsTheBaseThenTheSystemThenWhatIsSetThenXAndSeed) {
  const FigureRuns plan_ = plan(figure_text, 2);
  const std::vector<SweepRun>& runs = plan_.runs();
  ASSERT_EQ(runs.size(), 6u);
  EXPECT_EQ(runs[3].about, "figure 1, small, x = 20, seed 2");
  EXPECT_EQ(runs[3].folder, folder.path() / "runs/1/small/x-20/seed-2");
  EXPECT_EQ(runs[3].experiment.seed, 2u);
  EXPECT_EQ(runs[3].experiment.workload.requests, 10);
  EXPECT_EQ(runs[3].experiment.workload.arrivals.parameters.real("rate_per_s"), 20);
  EXPECT_EQ(runs[4].experiment.workload.requests, 20);
  const auto batching = std::ranges::find(runs[3].experiment.policies, "batching", &PolicyChoice::axis);
  EXPECT_EQ(batching->parameters.integer("max_sequences"), 1);
}

TEST_F(SweepTest, AQuickLookWinsOverWhatTheSeriesSet) {
  EXPECT_EQ(plan(figure_text, 1, true).runs()[0].experiment.workload.requests, 3);
}

TEST_F(SweepTest, ResultsDoNotDependOnTheNumberOfThreads) {
  const FigureRuns runs = plan(figure_text, 3);
  const std::vector<RunOutcome> one = run(runs);
  fs::remove_all(folder.path() / "runs");
  const std::vector<RunOutcome> four = run(runs, 4);
  for (std::size_t i = 0; i < one.size(); ++i) {
    EXPECT_EQ(one[i].error, "");
    EXPECT_EQ(one[i].summary, four[i].summary);
  }
}

TEST_F(SweepTest, APointIsTheMeanAndTheRangeOfItsSeeds) {
  const FigureRuns runs = plan(figure_text, 3);
  std::vector<RunOutcome> outcomes = run(runs);
  const std::vector<FigureCurve> curves = runs.curves(outcomes);
  ASSERT_EQ(curves.size(), 2u);
  std::vector<double> values;
  for (std::size_t i = 0; i < 3; ++i) {
    values.push_back(outcomes[i].summary["latency_s"]["mean"].get<double>());
  }
  const Spread spread = *curves[0].find(figure_x(10))->ours;
  EXPECT_DOUBLE_EQ(spread.mean, (values[0] + values[1] + values[2]) / 3);
  EXPECT_EQ(spread.min, std::ranges::min(values));
  EXPECT_EQ(spread.max, std::ranges::max(values));
  outcomes[1].summary = {};
  EXPECT_FALSE(runs.curves(outcomes)[0].find(figure_x(10))->ours) << "one of its seeds is missing";
}

TEST_F(SweepTest, WhatIsDoneIsNotRunAgain) {
  const FigureRuns runs = plan(figure_text);
  const std::vector<RunOutcome> first = run(runs);
  EXPECT_EQ(kept(first), 0);
  const std::vector<RunOutcome> second = run(runs);
  EXPECT_EQ(kept(second), 3);
  EXPECT_EQ(first[2].summary, second[2].summary);
}

TEST_F(SweepTest, WhatIsIncompleteChangedOrOfAnotherInputIsRunAgain) {
  const FigureRuns runs = plan(figure_text);
  run(runs);
  fs::remove(runs.runs()[0].folder / "summary.json");
  folder.write("runs/1/small/x-10/seed-1/summary.json.partial", "{");
  EXPECT_EQ(kept(run(runs)), 2) << "a run that was killed";

  const fs::path summary = runs.runs()[1].folder / "summary.json";
  auto json = nlohmann::ordered_json::parse(read_text_file(summary));
  json["complete"] = false;
  std::ofstream(summary) << json;
  EXPECT_EQ(kept(run(runs)), 2) << "a run that was interrupted";

  json["complete"] = true;
  json["provenance"]["inputs"]["device.description"] = "another";
  std::ofstream(summary) << json;
  EXPECT_EQ(kept(run(runs)), 2) << "a run with another device description of the same name";

  EXPECT_EQ(kept(run(plan(replaced(figure_text, "requests=10", "requests=11")))), 1);
}

TEST_F(SweepTest, ARunThatFailsDoesNotStopTheOthers) {
  const FigureRuns runs = plan(figure_text);
  folder.write("runs/1/small/x-10", "a file where a folder should be");
  const std::vector<RunOutcome> outcomes = run(runs, 2);
  EXPECT_THAT(outcomes[0].error, HasSubstr("x-10"));
  EXPECT_TRUE(outcomes[0].summary.is_null());
  EXPECT_EQ(outcomes[1].error, "");
  EXPECT_FALSE(outcomes[2].summary.is_null());
  EXPECT_FALSE(runs.curves(outcomes)[0].find(figure_x(10))->ours);
}

TEST_F(SweepTest, CategoriesThatDifferInTheirValueAloneShareARun) {
  const FigureRuns runs = plan(R"(title = "t"
measured = "m"
y_label = "y"
[sweep]
experiment = ["base.toml"]
y = "latency_s.mean"
[[sweep.category]]
x = "mean"
[[sweep.category]]
x = "max"
y = "latency_s.max"
[[sweep.category]]
x = "more"
set = ["workload.requests=30"]
[[series]]
system = "small"
)");
  ASSERT_EQ(runs.runs().size(), 2u);
  EXPECT_EQ(runs.runs()[0].folder, folder.path() / "runs/1/small/x-all/seed-1");
  EXPECT_EQ(runs.runs()[1].folder, folder.path() / "runs/1/small/x-more/seed-1");
  const std::vector<RunOutcome> outcomes = run(runs);
  const std::vector<FigureCurve> curves = runs.curves(outcomes);
  EXPECT_EQ(curves[0].find(figure_x("max"))->ours->mean, outcomes[0].summary["latency_s"]["max"]);
  EXPECT_EQ(curves[0].find(figure_x("more"))->ours->mean, outcomes[1].summary["latency_s"]["mean"]);
}

TEST_F(SweepTest, TheFilesOfAnExperimentAreLaidOverOneAnother) {
  folder.write("fewer.toml", "[workload]\nrequests = 7\n");
  const FigureRuns runs = plan(replaced(figure_text, "[\"base.toml\"]", "[\"base.toml\", \"fewer.toml\"]"));
  EXPECT_EQ(runs.runs()[2].experiment.workload.requests, 7);
}

TEST_F(SweepTest, AFallbackReplacesTheFileWhoseTraceIsNotThere) {
  folder.write("traced.toml", "[workload.lengths]\nkind = \"trace\"\nfile = \"t.csv\"\n");
  folder.write("fixed.toml", "[workload.lengths]\nkind = \"fixed\"\n");
  const std::string traced = replaced(figure_text, "[\"base.toml\"]", "[\"base.toml\", \"traced.toml\"]");
  EXPECT_THAT(error_of([&] { plan(traced); }),
              HasSubstr("t.csv, which is not there, and the figure has no fallback"));
  const std::string safe =
      replaced(traced, "\"traced.toml\"]", "\"traced.toml\"]\nfallback = \"fixed.toml\"");
  const FigureRuns runs = plan(safe);
  EXPECT_EQ(runs.runs()[0].experiment.workload.lengths.kind, "fixed");
  EXPECT_THAT(runs.notes(),
              ElementsAre("The trace t.csv is not there: fixed.toml was used instead of traced.toml."));
  folder.write("t.csv", "input_tokens,output_tokens\n3,4\n");
  EXPECT_EQ(plan(safe).runs()[0].experiment.workload.lengths.kind, "trace");
  EXPECT_TRUE(plan(safe).notes().empty());
}

TEST_F(SweepTest, NamesTheFigureAndTheSeriesOfAMistake) {
  EXPECT_THAT(
      error_of([&] { plan(replaced(figure_text, "requests=10", "requsts=10")); }),
      HasSubstr("figures/1.toml: series 'small': --set workload.requsts: key 'workload.requsts' is unknown"));
}

}  // namespace
}  // namespace pagelab
