// Clients, priorities and deadlines of requests: drawn by shares, read from a trace, and what is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "experiments/experiment.h"
#include "experiments/trace.h"
#include "policies/builtin.h"
#include "tests/experiments/files.h"
#include "tests/experiments/workloads.h"

namespace pagelab {
namespace {

using test::error_of;
using test::requests;
using test::TemporaryFolder;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST(RequestMarks, AreNoneUnlessSaid) {
  for (const Request& request : requests("requests = 20\n")) {
    EXPECT_EQ(request.client, 0);
    EXPECT_EQ(request.priority, 0);
    EXPECT_EQ(request.deadline, std::nullopt);
  }
}

TEST(RequestMarks, ClientsAndPrioritiesComeByTheirShares) {
  std::map<std::int32_t, int> clients;
  std::map<std::int32_t, int> priorities;
  for (const Request& request : requests("requests = 8000\nclients = {shares = [1.0, 0.0, 3.0]}\n"
                                         "priorities = {levels = [-1, 5], shares = [0.9, 0.1]}\n")) {
    ++clients[request.client];
    ++priorities[request.priority];
  }
  EXPECT_EQ(clients.size(), 2u) << "client 1 has no share";
  EXPECT_NEAR(clients[0], 2000, 150);
  EXPECT_NEAR(clients[2], 6000, 150);
  EXPECT_NEAR(priorities[-1], 7200, 120);
  EXPECT_NEAR(priorities[5], 800, 120);
}

TEST(RequestMarks, DeadlinesAreConstantsAndTokenTimesAfterTheArrival) {
  std::set<double> constants;
  for (const Request& request :
       requests("requests = 50\nlengths = {kind = \"fixed\", prompt = 10, output = 4}\n"
                "arrivals = {kind = \"constant\", rate_per_s = 2.0}\n"
                "deadlines = {slack_s = [1.0, 60.0], prompt_token_s = 0.5, output_token_s = 0.25}\n")) {
    constants.insert((request.deadline.value() - request.arrival).value());
  }
  EXPECT_EQ(constants, (std::set<double>{1 + 5 + 1, 60 + 5 + 1}));
}

TEST(RequestMarks, DoNotShiftTheRequestsThemselves) {
  const std::string plain =
      "requests = 40\nlengths = {kind = \"uniform\"}\narrivals = {kind = \"poisson\"}\n";
  const auto bare = requests(plain);
  const auto marked = requests(plain +
                               "clients = {shares = [1.0, 1.0]}\npriorities = {levels = [0, 1]}\n"
                               "deadlines = {slack_s = [1.0, 2.0]}\n");
  for (std::size_t i = 0; i < bare.size(); ++i) {
    EXPECT_EQ(bare[i].prompt, marked[i].prompt);
    EXPECT_EQ(bare[i].arrival, marked[i].arrival);
    EXPECT_EQ(bare[i].max_output, marked[i].max_output);
  }
}

// --- From a trace

const std::string kColumns =
    ", client_column = \"who\", priority_column = \"urgency\", deadline_column = \"due\"";

TEST(RequestMarks, ComeFromTheColumnsOfATrace) {
  const TemporaryFolder folder;
  const auto trace = folder.write("t.csv",
                                  "arrival_s,input_tokens,output_tokens,who,urgency,due\n"
                                  "5,3,4,7,-2,1.5\n6,3,4,0,9,\n");
  const auto all = requests("lengths = {kind = \"trace\", file = \"" + trace + "\"" + kColumns +
                            "}\narrivals = {kind = \"trace\"}\n");
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].client, 7);
  EXPECT_EQ(all[0].priority, -2);
  EXPECT_EQ(all[0].deadline, Seconds(1.5)) << "after its arrival, at 0";
  EXPECT_EQ(all[1].client, 0);
  EXPECT_EQ(all[1].priority, 9);
  EXPECT_EQ(all[1].deadline, std::nullopt);
}

std::string trace_error(const std::string& row, TraceOptions options = {}) {
  const TemporaryFolder folder;
  options.file = folder.write("trace", "input_tokens,output_tokens,who,urgency,due\n" + row);
  const std::string text = error_of([&] {
    TraceReader reader(options);
    TraceRow out;
    while (reader.next(out)) {
    }
  });
  return text.substr(std::min(text.size(), text.find("trace:")));
}

TEST(RequestMarks, ABadCellIsAnErrorWithFileAndLine) {
  EXPECT_EQ(trace_error("1,1,0,0,1\n1,1,-1,0,1\n", {.client_column = "who"}),
            "trace:3: who is '-1'; it must be a whole number from 0 to 1000000");
  EXPECT_THAT(trace_error("1,1,,0,1\n", {.client_column = "who"}), StartsWith("trace:2: who is ''"));
  EXPECT_THAT(trace_error("1,1,0,high,1\n", {.priority_column = "urgency"}),
              StartsWith("trace:2: urgency is 'high'; it must be a whole number from -1000000"));
  EXPECT_THAT(trace_error("1,1,0,0,-3\n", {.deadline_column = "due"}),
              StartsWith("trace:2: due is '-3'; it must be seconds after the arrival"));
  EXPECT_THAT(trace_error("1,1,0,0,nan\n", {.deadline_column = "due"}), StartsWith("trace:2: due is 'nan'"));
  EXPECT_THAT(trace_error("1,1,0,0,1\n", {.client_column = "whoo"}),
              AllOf(HasSubstr("column 'whoo' is missing"), HasSubstr("did you mean 'who'?")));
}

TEST(RequestMarks, JsonLinesHaveNoColumns) {
  const TemporaryFolder folder;
  const auto file = folder.write("t.jsonl", "{\"input_length\": 1, \"output_length\": 2}\n");
  EXPECT_THAT(error_of([&] { TraceReader({.file = file, .client_column = "who"}); }),
              HasSubstr("client_column = 'who' needs a CSV file"));
}

// --- What an experiment may say

std::string experiment_error(const std::string& workload) {
  PolicyRegistry registry;
  register_builtin_policies(registry);
  const std::string toml = "[model]\nshape = \"opt-125m\"\n[workload]\nrequests = 3\n" + workload;
  return error_of([&] { resolve_experiment(parse_config(toml, "e.toml"), "e", registry); });
}

TEST(RequestMarks, WrongSharesAreErrorsWithFileLineAndKey) {
  EXPECT_EQ(experiment_error("priorities = {levels = [0, 1], shares = [1.0]}\n"),
            "e.toml:5: key 'workload.priorities.shares' has 1 entries for 2 levels");
  EXPECT_THAT(experiment_error("clients = {shares = [0.0, 0.0]}\n"), HasSubstr("holds no share above 0"));
  EXPECT_THAT(experiment_error("clients = {shares = [1.0, -1.0]}\n"),
              AllOf(StartsWith("e.toml:5"), HasSubstr("workload.clients.shares")));
  EXPECT_THAT(experiment_error("deadlines = {slack_s = [-2.0]}\n"),
              AllOf(StartsWith("e.toml:5"), HasSubstr("workload.deadlines.slack_s")));
  EXPECT_THAT(experiment_error("deadlines = {slack = [2.0]}\n"), HasSubstr("did you mean 'slack_s'?"));
}

TEST(RequestMarks, TheSameCannotBeSaidTwice) {
  EXPECT_THAT(experiment_error("clients = {shares = [1.0]}\narrivals = {kind = \"closed_loop\"}\n"),
              HasSubstr("arrivals of kind 'closed_loop' says it already"));
  EXPECT_THAT(experiment_error("deadlines = {output_token_s = 1.0}\nlengths = {kind = \"trace\", file = "
                               "\"t\", deadline_column = \"d\"}\n"),
              HasSubstr("the trace's deadline_column says it already"));
}

}  // namespace
}  // namespace pagelab
