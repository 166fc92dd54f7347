#include "experiments/workload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "experiments/arrivals.h"
#include "experiments/lengths.h"
#include "experiments/prompts.h"
#include "tests/experiments/files.h"

namespace pagelab {
namespace {

using test::error_of;
using test::TemporaryFolder;
using ::testing::HasSubstr;

constexpr std::int64_t kVocabulary = 1000;

/// The workload of [lengths], [arrivals] and `requests` in a TOML text.
std::unique_ptr<Workload> workload(const std::string& toml, std::uint64_t seed = 1,
                                   const std::string& name = "w.toml") {
  const ConfigTable root = parse_config(toml, name);
  const std::vector<ParameterSpec> specs = {{.name = "requests", .default_value = 0}};
  WorkloadSpec spec;
  spec.requests = root.resolve(specs, {"lengths", "arrivals"}).integer("requests");
  spec.lengths = resolve_kind(root.section("lengths"), length_kinds(), "");
  spec.arrivals = resolve_kind(root.section("arrivals"), arrival_kinds(), "");
  return make_workload(spec, seed, kVocabulary);
}

std::vector<Request> drain(Workload& workload) {
  std::vector<Request> requests;
  while (workload.next_arrival()) {
    EXPECT_TRUE(requests.empty() || requests.back().arrival <= *workload.next_arrival());
    requests.push_back(workload.take());
  }
  return requests;
}

std::vector<Request> requests(const std::string& toml, std::uint64_t seed = 1,
                              const std::string& name = "w.toml") {
  const auto made = workload(toml, seed, name);
  std::vector<Request> all = drain(*made);
  EXPECT_EQ(made->total(), static_cast<std::int64_t>(all.size()));
  return all;
}

struct Moments {
  double mean = 0, cv = 0;
};
Moments moments(const std::vector<double>& values) {
  double sum = 0;
  double squares = 0;
  for (const double value : values) {
    sum += value;
    squares += value * value;
  }
  const double n = static_cast<double>(values.size());
  return {sum / n, std::sqrt(squares / n - sum * sum / (n * n)) / (sum / n)};
}

std::vector<double> prompts_of(const std::vector<Request>& all) {
  std::vector<double> out;
  for (const Request& request : all) {
    out.push_back(static_cast<double>(request.prompt.size()));
  }
  return out;
}
std::vector<double> outputs_of(const std::vector<Request>& all) {
  std::vector<double> out;
  for (const Request& request : all) {
    out.push_back(static_cast<double>(request.max_output.value()));
  }
  return out;
}
std::vector<double> gaps_of(const std::vector<Request>& all) {
  std::vector<double> out;
  double last = 0;
  for (const Request& request : all) {
    out.push_back(request.arrival.value() - last);
    last = request.arrival.value();
  }
  return out;
}

TEST(Lengths, FixedAreAllAlike) {
  const auto all = requests("requests = 5\nlengths = {kind = \"fixed\", prompt = 7, output = 3}\n");
  ASSERT_EQ(all.size(), 5u);
  EXPECT_EQ(all[4].prompt.size(), 7u);
  EXPECT_EQ(all[4].max_output, Tokens(3));
}

TEST(Lengths, UniformCoversItsRangeEvenly) {
  const auto all = requests(
      "requests = 20000\nlengths = {kind = \"uniform\", prompt_min = 3, prompt_max = 8, output_min = 5, "
      "output_max = 5}\n");
  std::vector<int> counts(9);
  for (const Request& request : all) {
    ++counts.at(request.prompt.size());
    EXPECT_EQ(request.max_output, Tokens(5));
  }
  EXPECT_EQ(counts[0] + counts[1] + counts[2], 0);
  for (int length = 3; length <= 8; ++length) {
    EXPECT_NEAR(counts[static_cast<std::size_t>(length)], 20000 / 6, 250);
  }
}

TEST(Lengths, LognormalHasItsMeanAndCv) {
  const auto all = requests(
      "requests = 20000\n[lengths]\nkind = \"lognormal\"\nprompt_mean = 100\nprompt_cv = 1.5\nprompt_max = "
      "100000\n"
      "output_mean = 50\noutput_cv = 0.5\noutput_max = 100000\n");
  EXPECT_NEAR(moments(prompts_of(all)).mean, 100, 4);
  EXPECT_NEAR(moments(prompts_of(all)).cv, 1.5, 0.15);
  EXPECT_NEAR(moments(outputs_of(all)).mean, 50, 1);
  EXPECT_NEAR(moments(outputs_of(all)).cv, 0.5, 0.02);
}

TEST(Lengths, LognormalStopsAtItsMaximum) {
  for (const Request& request :
       requests("requests = 500\n[lengths]\nkind = \"lognormal\"\nprompt_max = 9\n")) {
    EXPECT_LE(request.prompt.size(), 9u);
    EXPECT_GE(request.prompt.size(), 1u);
  }
}

const char* const kHistogram =
    "[lengths]\nkind = \"histogram\"\nprompt_edges = [1, 11, 21]\nprompt_counts = [3, 1]\n"
    "output_edges = [5, 6, 100, 101]\noutput_counts = [1, 0, 1]\n";

TEST(Lengths, HistogramDrawsBinsByCountAndUniformlyInside) {
  const auto all = requests(std::string("requests = 20000\n") + kHistogram);
  EXPECT_NEAR(moments(prompts_of(all)).mean, 0.75 * 5.5 + 0.25 * 15.5, 0.15);
  std::set<std::size_t> seen;
  for (const Request& request : all) {
    seen.insert(request.prompt.size());
    EXPECT_TRUE(request.max_output == Tokens(5) || request.max_output == Tokens(100));
  }
  EXPECT_EQ(*seen.begin(), 1u);
  EXPECT_EQ(*seen.rbegin(), 20u);
  EXPECT_EQ(seen.size(), 20u);
}

TEST(Lengths, HistogramDrawsAgainWhatIsTooLong) {
  for (const Request& request :
       requests(std::string("requests = 500\n") + kHistogram + "max_total = 105\n")) {
    EXPECT_LE(request.prompt.size() + static_cast<std::size_t>(request.max_output.value()), 105u);
  }
  EXPECT_THAT(error_of([] { requests(std::string("requests = 5\n") + kHistogram + "max_total = 5\n"); }),
              HasSubstr("w.toml:8: key 'lengths.max_total' is 5: 10000 draws"));
}

TEST(Lengths, ScaleRoundsUpToAtLeastOne) {
  EXPECT_EQ(scaled(Tokens(100), 0.1), Tokens(10));
  EXPECT_EQ(scaled(Tokens(101), 0.1), Tokens(11));
  EXPECT_EQ(scaled(Tokens(3), 0.01), Tokens(1));
  EXPECT_EQ(scaled(Tokens(1), 1.0), Tokens(1));
}

TEST(Lengths, NameTheKeyThatDoesNotFitTheOthers) {
  EXPECT_EQ(error_of([] {
              requests("requests = 1\n[lengths]\nkind = \"uniform\"\nprompt_min = 9\nprompt_max = 8\n");
            }),
            "w.toml:5: key 'lengths.prompt_max' is 8, but prompt_min is 9");
  const auto histogram = [](const std::string& edges, const std::string& counts) {
    return error_of([&] {
      requests("requests = 1\n[lengths]\nkind = \"histogram\"\nprompt_edges = " + edges +
               "\nprompt_counts = " + counts + "\noutput_edges = [1, 2]\noutput_counts = [1]\n");
    });
  };
  EXPECT_EQ(histogram("[1, 2]", "[1, 2]"),
            "w.toml:4: key 'lengths.prompt_edges' has 2 edges; 2 bins in prompt_counts need 3");
  EXPECT_EQ(histogram("[1, 3, 3]", "[1, 2]"),
            "w.toml:4: key 'lengths.prompt_edges' must grow from edge to edge");
  EXPECT_EQ(histogram("[1, 2]", "[0]"), "w.toml:5: key 'lengths.prompt_counts' holds no count above 0");
  EXPECT_THAT(histogram("[0, 2]", "[1]"),
              HasSubstr("key 'lengths.prompt_edges' must be a list of integers, at least 1"));
  EXPECT_THAT(histogram("[1, 2]", "[-1]"),
              HasSubstr("key 'lengths.prompt_counts' must be a list of integers, at least 0"));
}

TEST(Arrivals, AllAtOnceAreAtZero) {
  for (const Request& request : requests("requests = 5\n")) {
    EXPECT_EQ(request.arrival, Seconds(0));
  }
}

TEST(Arrivals, ConstantGapsStartAtZero) {
  const auto all = requests("requests = 3\narrivals = {kind = \"constant\", rate_per_s = 4}\n");
  EXPECT_EQ(all[0].arrival, Seconds(0));
  EXPECT_EQ(all[2].arrival, Seconds(0.5));
}

TEST(Arrivals, PoissonHasItsRateAndCvOne) {
  const auto gaps = gaps_of(requests("requests = 20000\narrivals = {kind = \"poisson\", rate_per_s = 8}\n"));
  EXPECT_NEAR(moments(gaps).mean, 0.125, 0.003);
  EXPECT_NEAR(moments(gaps).cv, 1, 0.03);
}

TEST(Arrivals, PoissonQuantaStampTheStart) {
  const auto exact = requests("requests = 2000\narrivals = {kind = \"poisson\", rate_per_s = 100}\n");
  const auto stamped =
      requests("requests = 2000\n[arrivals]\nkind = \"poisson\"\nrate_per_s = 100\nquantum_s = 0.01\n");
  for (std::size_t i = 0; i < exact.size(); ++i) {
    const double time = stamped[i].arrival.value();
    EXPECT_NEAR(time * 100, std::round(time * 100), 1e-6);
    EXPECT_LE(time, exact[i].arrival.value() + 1e-9);
    EXPECT_GT(time, exact[i].arrival.value() - 0.01 - 1e-9);
  }
}

TEST(Arrivals, GammaHasItsRateAndCv) {
  for (const double cv : {0.5, 1.0, 2.5}) {
    const auto gaps = gaps_of(requests(
        "requests = 20000\n[arrivals]\nkind = \"gamma\"\nrate_per_s = 8\ncv = " + std::to_string(cv) + "\n"));
    EXPECT_NEAR(moments(gaps).mean, 0.125, 0.125 * 0.05);
    EXPECT_NEAR(moments(gaps).cv, cv, cv * 0.06);
  }
}

TEST(Arrivals, ClosedLoopKeepsEachClientAtOneRequest) {
  const auto made = workload("requests = 4\narrivals = {kind = \"closed_loop\", clients = 2}\n");
  EXPECT_EQ(made->total(), 4);
  const Request a = made->take();
  const Request b = made->take();
  EXPECT_EQ(a.client, 0);
  EXPECT_EQ(b.client, 1);
  EXPECT_EQ(made->next_arrival(), std::nullopt);
  made->on_end(b.id, Seconds(3));
  ASSERT_EQ(made->next_arrival(), Seconds(3));
  const Request c = made->take();
  EXPECT_EQ(c.client, 1);
  EXPECT_EQ(c.arrival, Seconds(3));
  made->on_end(a.id, Seconds(4));
  made->on_end(c.id, Seconds(5));
  EXPECT_EQ(made->take().client, 0);
  EXPECT_EQ(made->next_arrival(), std::nullopt) << "all 4 are issued, though a client is free";
}

TEST(Workload, RepeatsWithItsSeedAndChangesWithIt) {
  const std::string toml = "requests = 20\nlengths = {kind = \"uniform\"}\narrivals = {kind = \"poisson\"}\n";
  const auto a = requests(toml);
  const auto b = requests(toml);
  const auto c = requests(toml, 2);
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].prompt, b[i].prompt);
    EXPECT_EQ(a[i].arrival, b[i].arrival);
    EXPECT_EQ(a[i].max_output, b[i].max_output);
    EXPECT_EQ(a[i].sampling.seed, b[i].sampling.seed);
    EXPECT_NE(a[i].arrival, c[i].arrival);
    EXPECT_NE(a[i].sampling.seed, c[i].sampling.seed);
    EXPECT_NE(a[i].prompt, c[i].prompt);
  }
  EXPECT_NE(a[0].sampling.seed, a[1].sampling.seed);
}

TEST(Workload, OnePartDoesNotShiftTheRandomNumbersOfAnother) {
  const auto a = requests("requests = 9\nlengths = {kind = \"uniform\"}\narrivals = {kind = \"poisson\"}\n");
  const auto b =
      requests("requests = 9\nlengths = {kind = \"uniform\"}\narrivals = {kind = \"gamma\", cv = 3}\n");
  const auto c = requests("requests = 9\nlengths = {kind = \"fixed\"}\narrivals = {kind = \"poisson\"}\n");
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].prompt, b[i].prompt);
    EXPECT_EQ(a[i].arrival, c[i].arrival);
    EXPECT_EQ(a[i].prompt[0], c[i].prompt[0]) << "a token depends on request and position alone";
  }
}

TEST(Workload, TokensAreOfTheVocabulary) {
  std::set<TokenId> seen;
  for (const Request& request : requests("requests = 50\nlengths = {kind = \"fixed\", prompt = 400}\n")) {
    for (const TokenId token : request.prompt) {
      ASSERT_GE(token, 0);
      ASSERT_LT(token, kVocabulary);
      seen.insert(token);
    }
  }
  EXPECT_EQ(seen.size(), static_cast<std::size_t>(kVocabulary));
}

TEST(Workload, MakesRequestsOnlyWhenTheyAreTaken) {
  const auto made = workload("requests = 2000000000\nlengths = {kind = \"fixed\", prompt = 2000000}\n");
  EXPECT_EQ(made->total(), 2000000000);
  EXPECT_EQ(made->take().prompt.size(), 2000000u);
  EXPECT_EQ(made->next_arrival(), Seconds(0));
}

TEST(Workload, RefusesAnEosOutsideTheVocabulary) {
  WorkloadSpec spec;
  spec.requests = 1;
  spec.lengths = resolve_kind(ConfigTable(), length_kinds(), "");
  spec.arrivals = resolve_kind(ConfigTable(), arrival_kinds(), "");
  spec.sampling.eos = 1000;
  EXPECT_EQ(error_of([&] { make_workload(spec, 1, 1000); }),
            "key 'sampling.eos' is 1000, but the model's tokens are 0 to 999");
}

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
  const auto bbh = run("prefix/bbh_cot_opt_blk16.jsonl.xz", "");
  EXPECT_GE(common(bbh[0], bbh[27]), 510u / 16 * 16) << "27 tasks in turn, each with its own prefix";
  EXPECT_LT(common(bbh[0], bbh[1]), 16u);
  const auto mooncake_requests = run("mooncake_conversation.jsonl.xz", "");
  EXPECT_EQ(common(mooncake_requests[0], mooncake_requests[1]), 512u) << "all share block 0";
}

}  // namespace
}  // namespace pagelab
