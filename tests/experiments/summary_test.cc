// What a run comes to: percentiles, averages, latencies, and the texts made of them.
#include "experiments/summary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "experiments/progress_line.h"

namespace pagelab {
namespace {

using ::testing::HasSubstr;

TEST(describe, InterpolatesBetweenTheClosestRanksAsNumpyDoes) {
  std::vector<double> values = {40, 10, 30, 20};
  const Distribution d = describe(values);
  EXPECT_EQ(d.count, 4);
  EXPECT_DOUBLE_EQ(d.mean, 25);
  EXPECT_DOUBLE_EQ(d.p50, 25);
  EXPECT_DOUBLE_EQ(d.p90, 37);
  EXPECT_DOUBLE_EQ(d.p99, 39.7);
  EXPECT_DOUBLE_EQ(d.max, 40);
}

TEST(describe, OfOneValueIsThatValueAndOfNoneIsZero) {
  std::vector<double> one = {3};
  EXPECT_DOUBLE_EQ(describe(one).p50, 3);
  EXPECT_DOUBLE_EQ(describe(one).p99, 3);
  std::vector<double> none;
  EXPECT_EQ(describe(none).count, 0);
  EXPECT_EQ(describe(none).p99, 0);
}

SequenceGroup finished_group(std::vector<std::vector<TokenId>> outputs) {
  SequenceGroup group;
  group.request.arrival = Seconds(10);
  group.admitted = Seconds(11);
  group.first_token = Seconds(12);
  group.finished = Seconds(18);
  group.state = GroupState::finished;
  for (auto& output : outputs) {
    group.done.push_back({static_cast<std::int32_t>(group.done.size()), std::move(output), {}, 0});
  }
  return group;
}

TEST(metrics_of, NormalizesLatencyByEachSequencesOwnLength) {
  const RequestMetrics metrics = metrics_of(finished_group({{1, 2, 3, 4}, {1, 2}}));
  EXPECT_DOUBLE_EQ(metrics.latency_s.value(), 8);
  EXPECT_DOUBLE_EQ(metrics.normalized_latency_s.value(), (8.0 / 4 + 8.0 / 2) / 2);
  EXPECT_DOUBLE_EQ(metrics.ttft_s.value(), 2);
  EXPECT_DOUBLE_EQ(metrics.tpot_s.value(), 6.0 / 3);
  EXPECT_EQ(metrics.output_tokens, Tokens(6));
  EXPECT_EQ(metrics.sequences, 2);
}

TEST(metrics_of, ASingleTokenHasNoTimePerFurtherToken) {
  EXPECT_FALSE(metrics_of(finished_group({{1}})).tpot_s.has_value());
}

TEST(output_hash, DiffersWhenTokensOrTheirDivisionIntoSequencesDiffer) {
  const auto hash = [](std::vector<std::vector<TokenId>> outputs) {
    return output_hash(finished_group(std::move(outputs)));
  };
  EXPECT_EQ(hash({{1, 2, 3}}), hash({{1, 2, 3}}));
  EXPECT_NE(hash({{1, 2, 3}}), hash({{1, 2, 4}}));
  EXPECT_NE(hash({{1, 2}, {3}}), hash({{1}, {2, 3}}));
  EXPECT_NE(hash({{256}}), hash({{1}}));
}

StepRecord step(double time, double duration, std::int64_t token, std::int64_t physical, std::int64_t logical,
                std::int32_t running) {
  StepRecord record;
  record.time = Seconds(time);
  record.duration = Seconds(duration);
  record.slots.total = Tokens(100);
  record.slots.token = Tokens(token);
  record.slots.free = Tokens(100 - token);
  record.blocks_physical = Blocks(physical);
  record.blocks_logical = Blocks(logical);
  record.running = running;
  return record;
}

TEST(run_statistics, AveragesOverTimeWeighStepsByTheirDuration) {
  RunStatistics statistics;
  statistics.on_step(step(0, 3, 20, 5, 10, 1));
  statistics.on_step(step(5, 1, 60, 10, 10, 5));
  EXPECT_DOUBLE_EQ(statistics.shares_over_time()[0], (3 * 0.2 + 1 * 0.6) / 4);
  EXPECT_DOUBLE_EQ(statistics.shares_over_steps()[0], 0.4);
  EXPECT_DOUBLE_EQ(statistics.running_over_time(), 2);
  EXPECT_DOUBLE_EQ(statistics.running_over_steps(), 3);
  EXPECT_EQ(statistics.max_running, 5);
  EXPECT_DOUBLE_EQ(statistics.sharing_saving_over_time(), 1 - (15.0 + 10) / (30 + 10));
  EXPECT_DOUBLE_EQ(statistics.sharing_saving_over_steps(), 1 - 15.0 / 20);
  EXPECT_EQ(statistics.end, Seconds(6));
  EXPECT_DOUBLE_EQ(statistics.busy_s, 4);
}

TEST(summary, HasAveragesOverTimeAndOverSteps) {
  RunStatistics statistics;
  statistics.on_step(step(0, 3, 20, 5, 10, 1));
  statistics.on_step(step(5, 1, 60, 10, 10, 5));
  const auto json = summary_json(statistics, {}, {});
  EXPECT_DOUBLE_EQ(json["running_groups"]["mean"], 2);
  EXPECT_DOUBLE_EQ(json["running_groups"]["mean_over_steps"], 3);
  EXPECT_EQ(json["running_groups"]["max"], 5);
  EXPECT_DOUBLE_EQ(json["sharing_saving"], 1 - 25.0 / 40);
  EXPECT_DOUBLE_EQ(json["sharing_saving_over_steps"], 1 - 15.0 / 20);
  EXPECT_DOUBLE_EQ(json["memory_shares"]["over_time"]["token"], 0.3);
  EXPECT_DOUBLE_EQ(json["memory_shares"]["over_steps"]["token"], 0.4);
  for (const char* word : {"mean", "p50", "p90", "p99", "max"}) {
    EXPECT_EQ(json["normalized_latency_s_per_token"][word], 0.0) << word;
  }
}

TEST(summary, ThroughputIsOverTheWholeRunAndIdleTimeCounts) {
  RunStatistics statistics;
  StepRecord record = step(6, 2, 20, 5, 10, 1);
  record.tokens_prefill = Tokens(10);
  record.tokens_decode = Tokens(6);
  statistics.on_step(record);
  statistics.on_finish(metrics_of(finished_group({{1, 2, 3, 4}})));
  const auto json = summary_json(statistics, {}, {});
  EXPECT_DOUBLE_EQ(json["duration_s"], 8);
  EXPECT_DOUBLE_EQ(json["throughput"]["requests_per_s"], 1.0 / 8);
  EXPECT_DOUBLE_EQ(json["throughput"]["output_tokens_per_s"], 4.0 / 8);
  EXPECT_DOUBLE_EQ(json["throughput"]["computed_tokens_per_s"], 2);
  EXPECT_FALSE(json.contains("reason"));
}

TEST(summary, TellsClientsApartAndCountsDeadlines) {
  RunStatistics statistics;
  for (const auto& [client, deadline] : {std::pair{0, 18.0}, std::pair{2, 17.0}, std::pair{2, -1.0}}) {
    SequenceGroup group = finished_group({{1, 2}});
    group.request.client = client;
    if (deadline > 0) {
      group.request.deadline = Seconds(deadline);
    }
    statistics.on_finish(metrics_of(group));
  }
  const auto json = summary_json(statistics, {}, {});
  EXPECT_EQ(json["deadlines"]["finished"], 2);
  EXPECT_EQ(json["deadlines"]["met"], 1) << "it ended at 18";
  ASSERT_EQ(json["clients"].size(), 3u);
  EXPECT_EQ(json["clients"][1]["finished"], 0);
  EXPECT_EQ(json["clients"][2]["finished"], 2);
  EXPECT_EQ(json["clients"][2]["output_tokens"], 4);
  EXPECT_DOUBLE_EQ(json["clients"][2]["mean_ttft_s"], 2);
  EXPECT_DOUBLE_EQ(json["clients"][2]["mean_normalized_latency_s_per_token"], 4);
}

TEST(summary, OfARunWithoutAStepIsAllZero) {
  RunStatistics statistics;
  const auto json = summary_json(statistics, {false, "interrupted"}, {});
  EXPECT_EQ(json["throughput"]["requests_per_s"], 0.0);
  EXPECT_EQ(json["memory_shares"]["over_time"]["free"], 0.0);
  EXPECT_EQ(json.dump().find("null"), json.dump().find("\"provenance\":null") + 13) << json.dump();
}

TEST(summary, TextIsTenLinesAndSaysWhenItIsPartial) {
  RunStatistics statistics;
  const std::string whole = summary_text(summary_json(statistics, {}, {}));
  EXPECT_EQ(std::count(whole.begin(), whole.end(), '\n'), 10);
  EXPECT_EQ(whole.find("PARTIAL"), std::string::npos);
  const std::string partial = summary_text(summary_json(statistics, {false, "the disk is full"}, {}));
  EXPECT_EQ(std::count(partial.begin(), partial.end(), '\n'), 10);
  EXPECT_THAT(partial, HasSubstr("PARTIAL: the disk is full"));
}

TEST(progress_text, ShowsTimeRequestsRateOccupancyAndPreemptions) {
  Progress last;
  last.now = Seconds(10);
  last.tokens = Tokens(1000);
  Progress now;
  now.now = Seconds(12);
  now.tokens = Tokens(1500);
  now.finished = 3;
  now.refused = 1;
  now.occupancy = 0.5;
  now.preemptions = 7;
  EXPECT_EQ(
      progress_text(now, last, 20, "simulated"),
      "12.0 s simulated | 4/20 requests | 250 tokens/s | KV [##########..........] 50 % | 7 preemptions");
}

}  // namespace
}  // namespace pagelab
