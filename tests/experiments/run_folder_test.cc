// The run folder: what it holds after a run that ended well, one that was cut off, one whose ledger is wrong,
// and one whose disk filled up.
#include "experiments/run_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "tests/support/builders.h"
#include "tests/support/hash_device.h"

namespace pagelab {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;
using ::testing::ElementsAre;
using testing::HashDevice;
using ::testing::HasSubstr;
using testing::request;

std::string content(const fs::path& file) {
  std::ifstream in(file);
  EXPECT_TRUE(in) << file;
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

std::vector<std::string> lines(const fs::path& file) {
  std::istringstream in(content(file));
  std::vector<std::string> out;
  for (std::string line; std::getline(in, line);) {
    out.push_back(line);
  }
  return out;
}

/// Cells of a line without quotes in it.
std::vector<std::string> cells(const std::string& line) {
  std::vector<std::string> out(1);
  for (const char c : line) {
    if (c == ',') {
      out.emplace_back();
    } else {
      out.back().push_back(c);
    }
  }
  return out;
}

std::set<std::string> names(const fs::path& folder) {
  std::set<std::string> out;
  for (const auto& entry : fs::directory_iterator(folder)) {
    out.insert(entry.path().filename().string());
  }
  return out;
}

StepRecord balanced_step(std::int64_t number) {
  StepRecord record;
  record.step = number;
  record.time = Seconds(static_cast<double>(number));
  record.duration = Seconds(0.5);
  record.slots.total = Tokens(100);
  record.slots.token = Tokens(60);
  record.slots.free = Tokens(40);
  return record;
}

class RunFolderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    root_ = fs::path(::testing::TempDir()) / (std::string("pagelab_") + info->name());
    fs::remove_all(root_);
    folder_ = root_ / "run";
  }
  void TearDown() override { fs::remove_all(root_); }

  static RunFolder::Options everything() {
    return {.decisions = true, .trace = true, .experiment_toml = "seed = 1\n"};
  }

  /// A run with preemptions, one refused request and two samples per request. `steps`: at most that many.
  Json run(const RunFolder::Options& options, std::int64_t steps = 1'000'000) {
    RunFolder folder(folder_, options);
    HashDevice device(12, 20, 4);
    VirtualClock clock;
    std::vector<Request> requests;
    for (std::int32_t id = 0; id < 8; ++id) {
      const Request plain = request(id, 5 + id, id == 3 ? 500 : 9, 0.02 * id);
      requests.push_back(id % 2 == 0 ? testing::parallel(plain, 2) : plain);
    }
    testing::ListWorkload workload(std::move(requests));
    Engine engine(device, clock, workload, testing::policies(), folder);
    while (steps-- > 0 && engine.step()) {
    }
    RunEnd end;
    if (!engine.queues().empty()) {
      end = {false, "interrupted"};
      for (const auto* group : engine.queues().running) {
        folder.on_unfinished(*group, engine.progress().now);
      }
      for (const auto* group : engine.queues().swapped) {
        folder.on_unfinished(*group, engine.progress().now);
      }
      for (const auto* group : engine.queues().waiting) {
        folder.on_unfinished(*group, engine.progress().now);
      }
    }
    return folder.finish(end);
  }

  fs::path root_;
  fs::path folder_;
};

TEST_F(RunFolderTest, HoldsCompleteFilesAndNoPartialOnesAfterFinish) {
  run(everything());
  EXPECT_THAT(names(folder_), ElementsAre("decisions.jsonl", "experiment.toml", "requests.csv", "schema.json",
                                          "steps.csv", "summary.json", "trace.json"));
  EXPECT_EQ(content(folder_ / "experiment.toml"), "seed = 1\n");
}

TEST_F(RunFolderTest, FilesThatAreBeingWrittenAreCalledPartial) {
  RunFolder folder(folder_, everything());
  folder.on_step(balanced_step(0), {});
  EXPECT_THAT(names(folder_),
              ElementsAre("decisions.jsonl.partial", "experiment.toml", "requests.csv.partial", "schema.json",
                          "steps.csv.partial", "summary.json.partial", "trace.json.partial"));
}

TEST_F(RunFolderTest, DecisionsAndTraceAreWrittenOnlyIfAskedFor) {
  run({.decisions = false, .trace = false});
  EXPECT_THAT(names(folder_),
              ElementsAre("experiment.toml", "requests.csv", "schema.json", "steps.csv", "summary.json"));
}

TEST_F(RunFolderTest, StepsAndRequestsAreLeftOutIfNotWantedAndTheSummaryIsTheSame) {
  const Json all = run(everything());
  fs::remove_all(folder_);
  const Json few = run({.steps = false, .requests = false, .trace = false});
  EXPECT_THAT(names(folder_), ElementsAre("experiment.toml", "schema.json", "summary.json"));
  EXPECT_EQ(few, all);
}

TEST_F(RunFolderTest, TheLedgerIsCheckedEvenIfStepsAreNotWritten) {
  RunFolder folder(folder_, {.steps = false, .trace = false});
  StepRecord record = balanced_step(17);
  record.slots.free = Tokens(39);
  EXPECT_THROW(folder.on_step(record, {}), LedgerError);
}

TEST_F(RunFolderTest, StepsCsvBeginsWithTheColumnsThatReadersRelyOn) {
  run(everything());
  EXPECT_EQ(
      lines(folder_ / "steps.csv").front(),
      "step,time_s,duration_s,slots_total,slots_token,slots_cached,slots_reserved,slots_internal,slots_"
      "external,"
      "slots_free,blocks_logical,blocks_physical,host_blocks_used,running,waiting,swapped,tokens_prefill,"
      "tokens_decode,tokens_recomputed,preempt_recompute,preempt_swap,blocks_copied,bytes_swapped_in,"
      "bytes_swapped_out,tokens_hit,evictions,evicted_then_needed");
}

TEST_F(RunFolderTest, EveryRowOfStepsCsvAddsUpToThePool) {
  const Json summary = run(everything());
  const auto rows = lines(folder_ / "steps.csv");
  ASSERT_EQ(rows.size(), summary["steps"].get<std::size_t>() + 1);
  for (std::size_t i = 1; i < rows.size(); ++i) {
    const auto row = cells(rows[i]);
    ASSERT_EQ(row.size(), StepsCsv::columns().size());
    std::int64_t sum = 0;
    for (std::size_t state = 4; state <= 9; ++state) {
      sum += std::stoll(row[state]);
    }
    EXPECT_EQ(sum, std::stoll(row[3])) << rows[i];
  }
}

TEST_F(RunFolderTest, AStepWhoseSlotsDoNotAddUpIsAnErrorWithItsNumbers) {
  RunFolder folder(folder_, everything());
  StepRecord record = balanced_step(17);
  record.slots.free = Tokens(39);
  try {
    folder.on_step(record, {});
    FAIL() << "it was accepted";
  } catch (const LedgerError& error) {
    EXPECT_THAT(error.what(), HasSubstr("step 17"));
    EXPECT_THAT(error.what(), HasSubstr("token 60"));
    EXPECT_THAT(error.what(), HasSubstr("free 39"));
    EXPECT_THAT(error.what(), HasSubstr("total of 100"));
  }
  folder.finish({false, "ledger"});
  EXPECT_EQ(lines(folder_ / "steps.csv").size(), 1u) << "the wrong row was written";
}

TEST_F(RunFolderTest, RequestsCsvHasOneRowPerRequestWithItsStatus) {
  const Json summary = run(everything());
  const auto rows = lines(folder_ / "requests.csv");
  ASSERT_EQ(rows.size(), 9u);
  int finished = 0;
  int refused = 0;
  for (std::size_t i = 1; i < rows.size(); ++i) {
    const auto row = cells(rows[i]);
    if (row[9] == "finished") {
      ++finished;
      EXPECT_EQ(row.size(), RequestsCsv::columns().size());
      EXPECT_EQ(row[8], std::stoi(row[0]) % 2 == 0 ? "2" : "1") << rows[i];
      EXPECT_EQ(std::stoi(row[7]), 9 * std::stoi(row[8])) << rows[i];
      EXPECT_EQ(row[14].size(), 16u) << "the hash";
    } else {
      ++refused;
      EXPECT_EQ(row[9], "refused");
      EXPECT_EQ(row[0], "3");
      EXPECT_THAT(rows[i], HasSubstr("500 output tokens"));
    }
  }
  EXPECT_EQ(finished, 7);
  EXPECT_EQ(refused, 1);
  EXPECT_EQ(summary["requests"]["finished"], 7);
  EXPECT_EQ(summary["requests"]["refused"], 1);
}

TEST_F(RunFolderTest, ARunThatIsCutOffKeepsValidFilesAndARowForEachUnfinishedRequest) {
  run(everything(), 6);
  const Json summary = Json::parse(content(folder_ / "summary.json"));
  EXPECT_EQ(summary["complete"], false);
  EXPECT_EQ(summary["reason"], "interrupted");
  EXPECT_GT(summary["requests"]["unfinished"], 0);
  EXPECT_EQ(lines(folder_ / "steps.csv").size(), 7u);
  std::int64_t unfinished = 0;
  for (const std::string& line : lines(folder_ / "requests.csv")) {
    unfinished += line.find(",unfinished,") != std::string::npos ? 1 : 0;
  }
  EXPECT_EQ(summary["requests"]["unfinished"], unfinished);
  EXPECT_TRUE(Json::accept(content(folder_ / "trace.json")));
}

TEST_F(RunFolderTest, SchemaJsonDescribesEveryColumn) {
  run(everything());
  const Json schema = Json::parse(content(folder_ / "schema.json"));
  for (const char* file : {"steps.csv", "requests.csv"}) {
    const auto header = cells(lines(folder_ / file).front());
    ASSERT_EQ(schema[file].size(), header.size());
    for (const std::string& column : header) {
      ASSERT_TRUE(schema[file].contains(column)) << column;
      EXPECT_THAT((std::set<std::string>{"integer", "real", "text"}),
                  ::testing::Contains(schema[file][column]["type"]));
      EXPECT_TRUE(schema[file][column].contains("unit"));
      EXPECT_FALSE(schema[file][column]["meaning"].get<std::string>().empty()) << column;
    }
  }
}

TEST_F(RunFolderTest, DecisionsJsonlCountsAgreeWithTheSummary) {
  const Json summary = run(everything());
  std::map<std::string, int> count;
  for (const std::string& line : lines(folder_ / "decisions.jsonl")) {
    const Json decision = Json::parse(line);
    ++count[decision["decision"].get<std::string>()];
    EXPECT_FALSE(decision["reason"].get<std::string>().empty()) << line;
  }
  EXPECT_GT(count["preempt_recompute"] + count["preempt_swap"], 0) << "the run was meant to preempt";
  EXPECT_EQ(count["preempt_recompute"], summary["preemptions"]["recompute"]);
  EXPECT_EQ(count["preempt_swap"], summary["preemptions"]["swap"]);
  EXPECT_EQ(count["copy_on_write"], summary["blocks_copied"]);
  EXPECT_EQ(count["fork"], 4);
}

TEST_F(RunFolderTest, TraceJsonGivesEveryRequestStatesThatFollowOneAnother) {
  const Json summary = run(everything());
  const Json trace = Json::parse(content(folder_ / "trace.json"));
  std::map<int, double> end_of_request;
  std::map<std::string, int> count;
  for (const Json& event : trace["traceEvents"]) {
    const std::string phase = event["ph"];
    ++count[phase == "X" ? event["name"].get<std::string>() : phase];
    if (phase == "X" && event["pid"] == 2) {
      const int request = event["tid"];
      if (end_of_request.contains(request)) {
        EXPECT_NEAR(event["ts"].get<double>(), end_of_request[request], 0.002) << event;
      }
      EXPECT_GE(event["dur"].get<double>(), 0) << event;
      end_of_request[request] = event["ts"].get<double>() + event["dur"].get<double>();
    }
  }
  const int preemptions =
      summary["preemptions"]["recompute"].get<int>() + summary["preemptions"]["swap"].get<int>();
  EXPECT_EQ(end_of_request.size(), 7u);
  EXPECT_EQ(count["step"], summary["steps"]);
  EXPECT_EQ(count["i"], preemptions);
  EXPECT_EQ(count["running"], 7 + preemptions);
  EXPECT_EQ(count["waiting"], 7 + summary["preemptions"]["recompute"].get<int>());
  EXPECT_EQ(count["swapped"], summary["preemptions"]["swap"]);
  EXPECT_EQ(count["C"], 2 * summary["steps"].get<int>());
}

TEST_F(RunFolderTest, TraceJsonOfAVeryLongRunIsThinned) {
  RunFolder folder(folder_, everything());
  for (std::int64_t step = 0; step < 150'000; ++step) {
    folder.on_step(balanced_step(step), {});
  }
  folder.finish({});
  std::int64_t drawn = 0;
  for (const std::string& line : lines(folder_ / "trace.json")) {
    drawn += line.find(R"("name":"step")") != std::string::npos ? 1 : 0;
  }
  EXPECT_EQ(drawn, 100'000) << "50,000, then every second one of 100,000";
}

TEST_F(RunFolderTest, EqualRunsLeaveEqualBytes) {
  run(everything());
  const fs::path first = root_ / "first";
  fs::rename(folder_, first);
  run(everything());
  for (const std::string& name : names(first)) {
    EXPECT_EQ(content(first / name), content(folder_ / name)) << name;
  }
}

/// While it lives no file can grow beyond a number of bytes; writing more fails as on a full disk.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : signal_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &old_);
    const rlimit limit{bytes, old_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &old_);
    std::signal(SIGXFSZ, signal_);
  }

 private:
  rlimit old_{};
  void (*signal_)(int);
};

TEST_F(RunFolderTest, AFullDiskIsAnErrorNamingTheFileAndWhatFitsStaysInWholeLines) {
  RunFolder folder(folder_, {.decisions = false, .trace = false});
  std::string text;
  std::int64_t steps = 0;
  {
    const FileSizeLimit limit(100'000);
    try {
      for (; steps < 100'000; ++steps) {
        folder.on_step(balanced_step(steps), {});
      }
    } catch (const OutputError& error) {
      text = error.what();
    }
    EXPECT_THAT(text, HasSubstr((folder_ / "steps.csv").string()));
    folder.finish({false, text});
  }
  const auto rows = lines(folder_ / "steps.csv");
  EXPECT_GT(rows.size(), 100u);
  EXPECT_LT(static_cast<std::int64_t>(rows.size()), steps + 1);
  EXPECT_EQ(content(folder_ / "steps.csv").back(), '\n');
  EXPECT_EQ(cells(rows.back()).size(), StepsCsv::columns().size());
  const Json summary = Json::parse(content(folder_ / "summary.json"));
  EXPECT_EQ(summary["complete"], false);
  EXPECT_EQ(summary["reason"], text);
}

TEST_F(RunFolderTest, ADiskThatFillsUpAtTheVeryEndMakesTheRunIncomplete) {
  RunFolder folder(folder_, {.decisions = false, .trace = true});
  for (std::int64_t step = 0; step < 80; ++step) {
    folder.on_step(balanced_step(step), {});  // less than a buffer: nothing but the headers is on disk yet
  }
  {
    const FileSizeLimit limit(17'000);
    EXPECT_THROW(folder.finish({}), OutputError);
  }
  const Json summary = Json::parse(content(folder_ / "summary.json"));
  EXPECT_EQ(summary["complete"], false);
  EXPECT_THAT(summary["reason"].get<std::string>(), HasSubstr("trace.json"));
  EXPECT_EQ(lines(folder_ / "steps.csv").size(), 81u);
}

TEST_F(RunFolderTest, IsNotMadeWhereSomethingIsAlready) {
  fs::create_directories(folder_);
  std::ofstream(folder_ / "mine") << "precious";
  EXPECT_THROW(RunFolder(folder_, {}), OutputError);
  EXPECT_EQ(content(folder_ / "mine"), "precious");
  std::ofstream(root_ / "file") << "";
  EXPECT_THROW(RunFolder(root_ / "file", {}), OutputError);
  EXPECT_THROW(RunFolder(root_ / "file" / "below", {}), OutputError);
}

TEST_F(RunFolderTest, GetsTheFirstNameThatIsFree) {
  EXPECT_EQ(unused_folder(root_, "x"), root_ / "x");
  fs::create_directories(root_ / "x");
  EXPECT_EQ(unused_folder(root_, "x"), root_ / "x-2");
  fs::create_directories(root_ / "x-2");
  EXPECT_EQ(unused_folder(root_, "x"), root_ / "x-3");
}

}  // namespace
}  // namespace pagelab
