#include "experiments/workload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "experiments/arrivals.h"
#include "experiments/lengths.h"
#include "experiments/prompts.h"
#include "tests/experiments/files.h"
#include "tests/experiments/workloads.h"

namespace pagelab {
namespace {

using test::drain;
using test::error_of;
using test::kVocabulary;
using test::moments;
using test::outputs_of;
using test::prompts_of;
using test::requests;
using test::workload;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

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

TEST(Arrivals, PoissonOfNumpyIsWhatNumpyDraws) {
  // numpy.random.seed(SEED); numpy.random.poisson(RATE * 0.01, QUANTA), NumPy 1.24
  const auto quanta = [](const std::string& seed, const std::string& rate, const std::string& until) {
    std::vector<std::int64_t> out;
    for (const Request& request :
         requests(until + "\n[arrivals]\nkind = \"poisson\"\nquantum_s = 0.01\nrate_per_s = " + rate +
                  "\nnumpy_seed = " + seed + "\n")) {
      out.push_back(std::lround(request.arrival.value() * 100));
    }
    return out;
  };
  EXPECT_THAT(quanta("0", "2", "requests = 8"), ElementsAre(52, 148, 208, 283, 417, 421, 441, 444));
  EXPECT_EQ(quanta("0", "2", "duration_s = 3600").size(), 7280u);
  EXPECT_THAT(quanta("5", "300", "requests = 12"), ElementsAre(0, 0, 1, 1, 1, 1, 1, 2, 3, 3, 3, 4));
  EXPECT_THAT(error_of([&] { quanta("0", "1000", "requests = 1"); }),
              HasSubstr("numpy_seed' needs a quantum_s with more than 0 and fewer than 10 arrivals on "
                        "average; 0.01 s of 1000/s are 10"));
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

TEST(Duration, EndsEndlessArrivalsAndTheTotalIsKnownBefore) {
  const std::string poisson = "arrivals = {kind = \"poisson\", rate_per_s = 8}\n";
  const auto limited = requests("duration_s = 100\n" + poisson);
  EXPECT_NEAR(static_cast<double>(limited.size()), 800, 100);
  EXPECT_LT(limited.back().arrival, Seconds(100));
  const auto more = requests("requests = 2000\n" + poisson);
  EXPECT_GE(more.at(limited.size()).arrival, Seconds(100)) << "none is missing";
  for (std::size_t i = 0; i < limited.size(); ++i) {
    EXPECT_EQ(limited[i].arrival, more[i].arrival);
    EXPECT_EQ(limited[i].prompt, more[i].prompt);
  }
}

TEST(Duration, LeavesOutWhatArrivesAtItsVeryEnd) {
  const std::string toml = "arrivals = {kind = \"constant\", rate_per_s = 4}\n";
  EXPECT_EQ(requests("duration_s = 1\n" + toml).size(), 4u);
  EXPECT_EQ(requests("duration_s = 1.01\n" + toml).size(), 5u);
  EXPECT_EQ(requests("duration_s = 1e-9\n" + toml).size(), 1u);
}

TEST(Duration, OrTheNumberOfRequestsWhicheverEndsFirst) {
  const std::string toml = "arrivals = {kind = \"constant\", rate_per_s = 4}\n";
  EXPECT_EQ(requests("requests = 3\nduration_s = 1\n" + toml).size(), 3u);
  EXPECT_EQ(requests("requests = 9\nduration_s = 1\n" + toml).size(), 4u);
}

TEST(Duration, IsAnErrorIfNothingArrivesInIt) {
  EXPECT_EQ(
      error_of([] { workload("duration_s = 0.001\narrivals = {kind = \"poisson\", rate_per_s = 0.001}\n"); }),
      "key 'workload.duration_s' is 0.001, and no request arrives before that");
}

TEST(Duration, CutsOffAClosedLoopWhenItComes) {
  const auto made =
      workload("requests = 9\nduration_s = 4\narrivals = {kind = \"closed_loop\", clients = 2}\n");
  EXPECT_EQ(made->total(), 9) << "at most";
  const Request a = made->take();
  const Request b = made->take();
  made->on_end(a.id, Seconds(3.9));
  EXPECT_EQ(made->take().arrival, Seconds(3.9));
  made->on_end(b.id, Seconds(4));
  EXPECT_EQ(made->next_arrival(), std::nullopt);
  EXPECT_EQ(made->total(), 3);
}

TEST(Duration, DoesNotEndArrivalsThatDoNotGoOn) {
  WorkloadSpec spec;
  spec.lengths = resolve_kind(ConfigTable(), length_kinds(), "");
  spec.duration = Seconds(1);
  for (const auto& kind : arrival_kinds()) {
    spec.arrivals = resolve_kind(parse_config("kind = \"" + kind.name + "\"\n", "k"), arrival_kinds(), "");
    EXPECT_EQ(has_end(spec), kind.name != "all_at_once" && kind.name != "closed_loop") << kind.name;
  }
}

TEST(Prefix, IsTheSameForAllRequestsAheadOfTheirOwnPrompts) {
  const std::string toml = "requests = 3\nlengths = {kind = \"fixed\", prompt = 7}\n";
  const auto plain = requests(toml);
  const auto all = requests("prefix_tokens = 21\n" + toml);
  for (std::size_t i = 0; i < all.size(); ++i) {
    ASSERT_EQ(all[i].prompt.size(), 28u);
    EXPECT_EQ(all[i].shared_prefix, Tokens(21));
    EXPECT_TRUE(std::equal(all[i].prompt.begin(), all[i].prompt.begin() + 21, all[0].prompt.begin()));
    EXPECT_TRUE(std::equal(plain[i].prompt.begin(), plain[i].prompt.end(), all[i].prompt.begin() + 21))
        << "its own tokens stay as they were";
    EXPECT_EQ(plain[i].shared_prefix, Tokens(0));
  }
  EXPECT_NE(all[0].prompt, all[1].prompt);
  const auto other = requests("prefix_tokens = 21\n" + toml, 2);
  EXPECT_FALSE(std::equal(other[0].prompt.begin(), other[0].prompt.begin() + 21, all[0].prompt.begin()))
      << "another seed";
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

}  // namespace
}  // namespace pagelab
