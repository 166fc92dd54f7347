#include "experiments/trace_lengths.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "tests/experiments/files.h"
#include "tests/experiments/workloads.h"

namespace pagelab {
namespace {

using test::error_of;
using test::moments;
using test::outputs_of;
using test::prompts_of;
using test::requests;
using test::TemporaryFolder;
using test::workload;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class TraceWorkload : public ::testing::Test {
 protected:
  std::string toml(std::string_view trace, const std::string& more = "") {
    return "lengths = {kind = \"trace\", file = \"" + folder_.write("trace", trace) + "\"" + more + "}\n";
  }
  TemporaryFolder folder_;
};

TEST_F(TraceWorkload, TakesAllRowsOrAsManyAsWanted) {
  const std::string trace = "input_tokens,output_tokens\n5,6\n7,8\n9,10\n";
  EXPECT_EQ(requests(toml(trace)).size(), 3u);
  EXPECT_EQ(requests("requests = 2\n" + toml(trace)).size(), 2u);
  EXPECT_EQ(requests("requests = 9\n" + toml(trace)).size(), 3u);
  const auto rest = requests(toml(trace, ", offset = 1, scale = 2"));
  ASSERT_EQ(rest.size(), 2u);
  EXPECT_EQ(rest[0].prompt.size(), 14u);
  EXPECT_EQ(rest[0].max_output, Tokens(16));
}

TEST_F(TraceWorkload, AddsToOutputsBeforeTheBounds) {
  const std::string trace = "input_tokens,output_tokens\n5,0\n7,8\n9,10\n";
  const auto all = requests(toml(trace, ", add_output = 1, max_output = 10, scale = 2"));
  EXPECT_THAT(prompts_of(all), ElementsAre(10, 14));
  EXPECT_THAT(outputs_of(all), ElementsAre(2, 18));
}

TEST_F(TraceWorkload, TakesLengthsOfHistogramsByTheirRank) {
  const std::string trace = "input_tokens,output_tokens\n500,6\n7,80\n90,8\n8,700\n";
  const std::string prompts = ", prompt_edges = [10, 20, 30], prompt_counts = [3, 1]";
  const auto all = requests(toml(trace, prompts));
  ASSERT_EQ(all.size(), 4u);
  // Ranks 3, 0, 2, 1 of 4: shares 7/8, 1/8, 5/8, 3/8; three quarters lie evenly in [10, 20).
  EXPECT_THAT(prompts_of(all), ElementsAre(25, 11, 18, 15));
  EXPECT_THAT(outputs_of(all), ElementsAre(6, 80, 8, 700));

  const auto both = requests(toml(
      trace, prompts + ", output_edges = [1, 2, 9], output_counts = [0, 4], max_total = 800, scale = 2"));
  EXPECT_THAT(prompts_of(both), ElementsAre(50, 22, 36, 30));
  EXPECT_THAT(outputs_of(both), ElementsAre(4, 12, 8, 16));
}

TEST_F(TraceWorkload, RanksAmongAllRowsHoweverFewAreWanted) {
  const std::string trace = "input_tokens,output_tokens\n500,6\n7,80\n90,8\n8,700\n";
  const std::string prompts = ", prompt_edges = [10, 20, 30], prompt_counts = [3, 1]";
  EXPECT_THAT(prompts_of(requests("requests = 2\n" + toml(trace, prompts))), ElementsAre(25, 11));
  auto shuffled = prompts_of(requests("requests = 3\n" + toml(trace, prompts + ", shuffle = true")));
  std::ranges::sort(shuffled);
  EXPECT_THAT(shuffled, ElementsAre(11, 18, 25));
}

TEST_F(TraceWorkload, CutsOutputsOfHistogramsToTheLongestPair) {
  const std::string trace = "input_tokens,output_tokens\n5,6\n7,8\n";
  const auto all = requests(toml(
      trace, ", output_edges = [10, 11, 30, 31], output_counts = [1, 0, 1], min_prompt = 1, max_total = 20"));
  EXPECT_THAT(prompts_of(all), ElementsAre(5, 7));
  EXPECT_THAT(outputs_of(all), ElementsAre(10, 13));
}

TEST_F(TraceWorkload, RefusesHistogramsThatDoNotFit) {
  const std::string trace = "input_tokens,output_tokens\n5,6\n";
  EXPECT_THAT(error_of([&] { requests(toml(trace, ", prompt_counts = [1]")); }),
              HasSubstr("key 'lengths.prompt_edges' has 0 edges; 1 bins in prompt_counts need 2"));
  EXPECT_THAT(
      error_of([&] {
        requests(toml("{\"timestamp\": 0, \"input_length\": 5, \"output_length\": 6, \"hash_ids\": [1]}\n",
                      ", prompt_edges = [1, 2], prompt_counts = [1]"));
      }),
      HasSubstr("key 'lengths.prompt_edges' cannot be given for a trace whose rows name the blocks"));
}

TEST_F(TraceWorkload, ArrivesAtTheTimesOfTheTraceFromItsFirstRequestOn) {
  const std::string trace = "arrival_s,input_tokens,output_tokens\n10,5,6\n11,7,8\n13,9,10\n";
  const auto all =
      requests(toml(trace, ", offset = 1") + "arrivals = {kind = \"trace\", time_scale = 0.5}\n");
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].arrival, Seconds(0));
  EXPECT_EQ(all[1].arrival, Seconds(1));
}

TEST_F(TraceWorkload, NeedsStampsForTheTimesOfTheTrace) {
  EXPECT_THAT(error_of([&] {
                requests(toml("input_tokens,output_tokens\n5,6\n") + "arrivals = {kind = \"trace\"}\n");
              }),
              HasSubstr("w.toml:2: key 'arrivals.kind' cannot be 'trace'"));
  EXPECT_THAT(error_of([&] { requests("requests = 1\narrivals = {kind = \"trace\"}\n"); }),
              HasSubstr("time stamps"));
}

TEST_F(TraceWorkload, ReportsErrorsOfAnyRowBeforeTheRun) {
  const std::string trace = "input_tokens,output_tokens\n5,6\n7,x\n";
  EXPECT_THAT(error_of([&] { workload(toml(trace)); }), HasSubstr("trace:3: output_tokens is 'x'"));
  EXPECT_EQ(requests("requests = 1\n" + toml(trace)).size(), 1u) << "rows that are not used are not read";
}

TEST_F(TraceWorkload, RefusesToRunNothing) {
  const std::string trace = "input_tokens,output_tokens\n5,6\n";
  EXPECT_THAT(error_of([&] { workload(toml(trace, ", offset = 1")); }),
              HasSubstr("no row is left after offset = 1"));
  EXPECT_THAT(error_of([&] { workload(toml(trace, ", max_prompt = 2")); }), HasSubstr("no row is left"));
  EXPECT_THAT(error_of([&] { workload("lengths = {kind = \"trace\"}\n"); }),
              HasSubstr("'lengths.file' is missing"));
}

std::vector<std::pair<std::size_t, std::int64_t>> lengths_of(const std::vector<Request>& all) {
  std::vector<std::pair<std::size_t, std::int64_t>> out;
  for (const Request& request : all) {
    out.emplace_back(request.prompt.size(), request.max_output.value());
  }
  return out;
}

const char* const kThreeRows = "input_tokens,output_tokens\n1,11\n2,12\n3,13\n";

TEST_F(TraceWorkload, StartsOverAtTheEndOfTheFile) {
  const auto all = requests("requests = 7\n" + toml(kThreeRows, ", repeat = true"));
  EXPECT_EQ(prompts_of(all), (std::vector<double>{1, 2, 3, 1, 2, 3, 1}));
  EXPECT_EQ(requests("requests = 4\n" + toml(kThreeRows, ", repeat = true, offset = 2")).at(3).prompt.size(),
            3u);
  EXPECT_EQ(requests("duration_s = 2.1\n" + toml(kThreeRows, ", repeat = true") +
                     "arrivals = {kind = \"constant\", rate_per_s = 2}\n")
                .size(),
            5u);
}

TEST_F(TraceWorkload, EndsWithTheFileBeforeTheDuration) {
  EXPECT_EQ(requests("duration_s = 50\n" + toml(kThreeRows) + "arrivals = {kind = \"constant\"}\n").size(),
            3u);
  EXPECT_EQ(requests("duration_s = 1.5\n" + toml(kThreeRows) + "arrivals = {kind = \"constant\"}\n").size(),
            2u);
}

TEST_F(TraceWorkload, ShufflesTheRowsThatAreUsed) {
  std::string trace = "input_tokens,output_tokens\n";
  for (int i = 1; i <= 50; ++i) {
    trace += std::to_string(i) + "," + std::to_string(100 + i) + "\n";
  }
  const std::string shuffled = toml(trace, ", shuffle = true");
  auto all = lengths_of(requests("requests = 20\n" + shuffled));
  EXPECT_EQ(lengths_of(requests("requests = 20\n" + shuffled)), all);
  EXPECT_NE(lengths_of(requests("requests = 20\n" + shuffled, 2)), all);
  EXPECT_FALSE(std::ranges::is_sorted(all));
  std::ranges::sort(all);
  EXPECT_EQ(all, lengths_of(requests("requests = 20\n" + toml(trace)))) << "cut first, then shuffled";
}

TEST_F(TraceWorkload, ShufflesWhatItHasRepeated) {
  auto all = prompts_of(requests("requests = 8\n" + toml(kThreeRows, ", repeat = true, shuffle = true")));
  EXPECT_FALSE(std::ranges::is_sorted(all));
  std::ranges::sort(all);
  EXPECT_EQ(all, (std::vector<double>{1, 1, 1, 2, 2, 2, 3, 3}));
}

TEST_F(TraceWorkload, HasNoTimesOnceItIsRepeatedOrShuffled) {
  const std::string trace = "arrival_s,input_tokens,output_tokens\n10,5,6\n11,7,8\n14,9,10\n";
  const std::string times = "arrivals = {kind = \"trace\"}\n";
  for (const char* more : {", repeat = true", ", shuffle = true"}) {
    EXPECT_THAT(error_of([&] { workload("requests = 2\n" + toml(trace, more) + times); }),
                HasSubstr("key 'arrivals.kind' cannot be 'trace'"));
  }
  EXPECT_EQ(requests("duration_s = 4\n" + toml(trace) + times).size(), 2u);
  EXPECT_EQ(requests("duration_s = 4.5\n" + toml(trace) + times).size(), 3u);
  EXPECT_EQ(requests("requests = 1\nduration_s = 4.5\n" + toml(trace) + times).size(), 1u);
}

TEST_F(TraceWorkload, ClipsLongLengthsAfterTheBoundsAndBeforeScaling) {
  const std::string trace = "input_tokens,output_tokens\n100,10\n3,50\n200,9\n";
  EXPECT_EQ(lengths_of(requests(toml(trace, ", clip_prompt = 40, clip_output = 20"))),
            (std::vector<std::pair<std::size_t, std::int64_t>>{{40, 10}, {3, 20}, {40, 9}}));
  EXPECT_EQ(lengths_of(requests(toml(trace, ", clip_prompt = 40, max_prompt = 150, scale = 0.5"))),
            (std::vector<std::pair<std::size_t, std::int64_t>>{{20, 5}, {2, 25}}));
}

TEST_F(TraceWorkload, BoundsAreOnTheTracesOwnLengths) {
  const std::string trace = "input_tokens,output_tokens\n5,5\n50,5\n";
  const auto all = requests("prefix_tokens = 100\n" + toml(trace, ", max_total = 10"));
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].prompt.size(), 105u);
}

std::string mooncake(int prompt, const std::string& ids) {
  return "{\"input_length\": " + std::to_string(prompt) + ", \"output_length\": 1, \"hash_ids\": [" + ids +
         "]}\n";
}

/// Tokens that two prompts have in common at their beginning.
std::size_t common(const Request& a, const Request& b) {
  const auto [end, other] = std::ranges::mismatch(a.prompt, b.prompt);
  return static_cast<std::size_t>(end - a.prompt.begin());
}

TEST_F(TraceWorkload, EqualBlocksAreEqualTokens) {
  const auto all =
      requests(toml(mooncake(40, "1, 2, 3") + mooncake(48, "1, 2, 9") + mooncake(33, "4, 2, 3")));
  EXPECT_EQ(common(all[0], all[1]), 32u);
  EXPECT_EQ(common(all[0], all[2]), 0u);
  EXPECT_TRUE(std::equal(all[0].prompt.begin() + 16, all[0].prompt.begin() + 33, all[2].prompt.begin() + 16));
}

TEST_F(TraceWorkload, BlocksStayWithTheirRows) {
  const std::string trace =
      "{\"input_length\": 5, \"output_length\": 1}\n" + mooncake(40, "1, 2, 3") + mooncake(20, "1, 2");
  const auto all = requests("requests = 6\n" + toml(trace, ", repeat = true, clip_prompt = 33"));
  EXPECT_EQ(all[0].prompt.size(), 5u);
  EXPECT_EQ(all[1].prompt.size(), 33u);
  EXPECT_EQ(all[1].prompt, all[4].prompt) << "the same blocks";
  EXPECT_EQ(common(all[1], all[2]), 20u);
  EXPECT_NE(all[0].prompt, all[3].prompt) << "no blocks: tokens of its own";
}

TEST_F(TraceWorkload, InfersTheSizeOfABlock) {
  const auto all = requests(toml(mooncake(513, "1, 2") + mooncake(600, "1, 3") + mooncake(10, "1")));
  EXPECT_EQ(common(all[0], all[1]), 512u);
  EXPECT_EQ(common(all[0], all[2]), 10u);
  EXPECT_THAT(error_of([&] { workload(toml(mooncake(513, "1, 2") + mooncake(40, "1, 2, 3"))); }),
              HasSubstr("trace:2: 3 block ids do not fit a prompt of 40 tokens; set block_tokens"));
  EXPECT_EQ(common(requests(toml(mooncake(8, "1, 2") + mooncake(7, "1, 3"), ", block_tokens = 4"))[0],
                   requests(toml(mooncake(8, "1, 2") + mooncake(7, "1, 3"), ", block_tokens = 4"))[1]),
            4u);
}

TEST_F(TraceWorkload, ScaledPromptsKeepTheirSharing) {
  const auto all = requests(toml(mooncake(40, "1, 2, 3") + mooncake(48, "1, 2, 9"), ", scale = 0.3"));
  EXPECT_EQ(all[0].prompt.size(), 12u);
  EXPECT_EQ(common(all[0], all[1]), 10u) << "16 tokens a block become 5";
}

TEST(PublishedTraces, MakeWholeWorkloads) {
  PAGELAB_NEED_TRACES();
  const auto run = [](const std::string& file, const std::string& more) {
    return requests("requests = 300\nlengths = {kind = \"trace\", file = \"" +
                    (test::traces() / file).string() + "\"" + more + "}\n");
  };
  EXPECT_EQ(run("azure2023_conv.csv.xz", ", scale = 0.1").size(), 300u);
  const std::string alpaca =
      ", prompt_column = \"instr_input_opt\", output_column = \"output_opt\", repeat = true, shuffle = true";
  EXPECT_EQ(run("alpaca5000_lengths.csv", alpaca + ", min_output = 1").size(), 300u);
  const auto bbh = run("prefix/bbh_cot_opt_blk16.jsonl.xz", "");
  EXPECT_GE(common(bbh[0], bbh[27]), 510u / 16 * 16) << "27 tasks in turn, each with its own prefix";
  EXPECT_LT(common(bbh[0], bbh[1]), 16u);
  const auto mooncake_requests = run("mooncake_conversation.jsonl.xz", "");
  EXPECT_EQ(common(mooncake_requests[0], mooncake_requests[1]), 512u) << "all share block 0";
}

TEST(PublishedTraces, AlpacaHasTwoEmptyOutputsThatAMinimumPassesOver) {
  PAGELAB_NEED_TRACES();
  const auto run = [](const std::string& more) {
    return requests("lengths = {kind = \"trace\", file = \"" +
                    (test::traces() / "alpaca5000_lengths.csv").string() +
                    "\", prompt_column = \"instr_input_opt\", output_column = \"output_opt\"" + more + "}\n");
  };
  EXPECT_THAT(error_of([&] { run(""); }),
              HasSubstr("output of 0 tokens; min_output = 1 passes over such rows"));
  const auto all = run(", min_output = 1");
  EXPECT_EQ(all.size(), 4998u);
  EXPECT_NEAR(moments(prompts_of(all)).mean, 18.96, 0.02);
  EXPECT_NEAR(moments(outputs_of(all)).mean, 58.55, 0.05);
}

TEST(PublishedTraces, ShareGptHasThePublishedMeansUnderTheRecipe) {
  PAGELAB_NEED_TRACES();
  const auto all = requests("requests = 100000\nlengths = {kind = \"trace\", file = \"" +
                            (test::traces() / "sharegpt_first_turn_llama.csv.xz").string() +
                            "\", min_prompt = 4, min_output = 4, max_total = 2048}\n");
  EXPECT_EQ(all.size(), 54158u);
  EXPECT_NEAR(moments(prompts_of(all)).mean, 156.38, 0.01);
  EXPECT_NEAR(moments(outputs_of(all)).mean, 325.79, 0.01);
}

}  // namespace
}  // namespace pagelab
