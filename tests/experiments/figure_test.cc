#include "experiments/reproduce/figure.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/config.h"
#include "experiments/reproduce/figure_csv.h"
#include "tests/experiments/files.h"

namespace pagelab {
namespace {

using test::error_of;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;

constexpr const char* sweep = R"(title = "Latency by rate"
measured = "simulated"
x_label = "rate"
y_label = "latency"
[sweep]
x = "workload.arrivals.rate_per_s"
y = "normalized_latency_s_per_token.mean"
experiment = ["base/one.toml"]
[points]
vllm = [1, 2.5]
orca-swap = [1]
[quick]
set = ["workload.requests=5"]
[quick.points]
vllm = [1]
[[series]]
system = "vllm"
label = "vLLM"
[[series]]
system = "orca"
name = "orca-swap"
set = ["a.b=1"]
)";

class FigureTest : public ::testing::Test {
 protected:
  FigureTest() {
    folder.write("systems/vllm.toml", "");
    folder.write("systems/orca.toml", "");
  }
  Figure read(const std::string& text, bool quick = false) {
    folder.write("figures/12a.toml", text);
    return read_figure(folder.path(), "12a", quick);
  }
  std::string error(const std::string& text) {
    return error_of([&] { read(text); });
  }
  static std::string replaced(std::string text, const std::string& from, const std::string& to) {
    const std::size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return text.replace(at, from.size(), to);
  }

  test::TemporaryFolder folder;
};

std::vector<std::string> texts(const std::vector<FigureX>& xs) {
  std::vector<std::string> texts;
  for (const FigureX& x : xs) {
    texts.push_back(x.text);
  }
  return texts;
}

TEST_F(FigureTest, ReadsASweep) {
  const Figure figure = read(sweep);
  EXPECT_EQ(figure.title, "Latency by rate");
  EXPECT_EQ(figure.kind, "sweep");
  EXPECT_EQ(figure.sweep.x_key, "workload.arrivals.rate_per_s");
  EXPECT_THAT(figure.sweep.source.experiment, ElementsAre(folder.path() / "base/one.toml"));
  ASSERT_EQ(figure.series.size(), 2u);
  EXPECT_EQ(figure.series[0].label, "vLLM");
  EXPECT_THAT(texts(figure.series[0].points), ElementsAre("1", "2.5"));
  EXPECT_EQ(figure.series[1].name, "orca-swap");
  EXPECT_EQ(figure.series[1].label, "orca-swap");
  EXPECT_EQ(figure.series[1].system, folder.path() / "systems/orca.toml");
  EXPECT_THAT(figure.series[1].source.set, ElementsAre("a.b=1"));
  EXPECT_TRUE(figure.quick_set.empty());
}

TEST_F(FigureTest, AQuickLookHasItsOwnPointsAndSettings) {
  const Figure figure = read(sweep, true);
  EXPECT_THAT(texts(figure.series[0].points), ElementsAre("1"));
  EXPECT_THAT(texts(figure.series[1].points), ElementsAre("1"));
  EXPECT_THAT(figure.quick_set, ElementsAre("workload.requests=5"));
}

TEST_F(FigureTest, CategoriesTakeTheValueOfTheSweepUnlessTheyHaveTheirOwn) {
  const Figure figure = read(R"(title = "t"
measured = "m"
y_label = "y"
x_scale = "category"
[sweep]
y = "memory_shares.over_time.token"
y_factor = 100.0
experiment = ["base/one.toml"]
[[sweep.category]]
x = "token"
[[sweep.category]]
x = "rest"
y = "memory_shares.over_time.external + memory_shares.over_time.free"
set = ["seed=2"]
[[series]]
system = "vllm"
)");
  ASSERT_EQ(figure.sweep.categories.size(), 2u);
  EXPECT_THAT(figure.sweep.categories[0].y.paths, ElementsAre("memory_shares.over_time.token"));
  EXPECT_THAT(figure.sweep.categories[1].y.paths,
              ElementsAre("memory_shares.over_time.external", "memory_shares.over_time.free"));
  EXPECT_EQ(figure.sweep.categories[1].y.factor, 100);
  EXPECT_THAT(texts(figure.series[0].points), ElementsAre("token", "rest"));
  const auto summary =
      nlohmann::ordered_json::parse(R"({"memory_shares": {"over_time": {"external": 0.25, "free": 0.5}}})");
  EXPECT_DOUBLE_EQ(figure.sweep.categories[1].y.of(summary), 75);
  EXPECT_EQ(error_of([&] { figure.sweep.categories[0].y.of(summary); }),
            "the summary has no number 'memory_shares.over_time.token'");
}

TEST_F(FigureTest, KernelAndSwapFiguresNameTheirSeriesThemselves) {
  const std::string head = "title = \"t\"\nmeasured = \"m\"\ny_label = \"y\"\n";
  const Figure kernel = read(head +
                             "kind = \"kernel\"\n[kernel]\ncontexts = [64]\nbatches = [8]\npaged = \"p\"\n"
                             "contiguous = \"c\"\n");
  ASSERT_EQ(kernel.series.size(), 2u);
  EXPECT_EQ(kernel.series[0].name, "p_bs8");
  EXPECT_EQ(kernel.series[1].name, "c_bs8");
  const Figure swap =
      read(head + "kind = \"swap\"\n[swap]\nexperiment = [\"base/one.toml\"]\nblock_sizes = [1, 16]\n");
  ASSERT_EQ(swap.series.size(), 4u);
  EXPECT_EQ(swap.series[3].name, "swap_in_out");
  EXPECT_THAT(texts(swap.series[3].points), ElementsAre("1", "16"));
}

TEST_F(FigureTest, NamesFileLineAndKeyOfAMistake) {
  EXPECT_THAT(error(replaced(sweep, "x_label", "x_labl")),
              HasSubstr("figures/12a.toml:3: key 'x_labl' is unknown"));
  EXPECT_THAT(error(replaced(sweep, "[points]\nvllm", "[points]\nvlm")),
              HasSubstr("key 'points.vllm' is missing; it lists the x of the series"));
  EXPECT_THAT(
      error(replaced(sweep, "[points]", "[points]\nvlm = [1]")),
      HasSubstr("12a.toml:10: key 'points.vlm' is unknown; valid keys here: vllm, orca-swap; did you mean "
                "'vllm'?"));
  EXPECT_THAT(
      error(replaced(sweep, "system = \"orca\"", "system = \"orka\"")),
      HasSubstr("systems/orka.toml, which is not there; valid systems: orca, vllm; did you mean 'orca'?"));
  EXPECT_THAT(error(replaced(sweep, "name = \"orca-swap\"", "name = \"vllm\"")),
              HasSubstr("'vllm' is taken by another series"));
  EXPECT_THAT(error(replaced(sweep, "token.mean", "token.men")),
              HasSubstr("12a.toml:7: key 'sweep.y' names what is not in summary.json: "
                        "'normalized_latency_s_per_token.men' is unknown"));
  EXPECT_THAT(error(replaced(sweep, "[sweep]", "[swap]")),
              HasSubstr("key 'swap' does not belong to a figure of kind 'sweep'"));
  EXPECT_THAT(error(replaced(sweep, "[[series]]", "[series]")), HasSubstr("12a.toml:"));
  EXPECT_THAT(error(std::string(sweep) + "[claim]\n"),
              HasSubstr("key 'claim' must be a list of sections, [[claim]]; found a section"));
}

TEST_F(FigureTest, AnUnknownFigureIsToldWithThoseThereAreInTheOrderOfTheirNumbers) {
  for (const char* name : {"2", "12a", "1-memory", "1", "12b"}) {
    folder.write(std::string("figures/") + name + ".toml", sweep);
  }
  EXPECT_THAT(figure_names(folder.path()), ElementsAre("1", "1-memory", "2", "12a", "12b"));
  EXPECT_EQ(error_of([&] { read_figure(folder.path(), "12c", false); }),
            "figure '12c' is unknown; valid figures: 1, 1-memory, 2, 12a, 12b; did you mean '12a'?");
  EXPECT_THAT(error_of([&] { figure_names(folder.path() / "figures"); }), HasSubstr("no figures there"));
}

TEST_F(FigureTest, PublishedPointsJoinOursByNumberAndOthersGetRowsOfTheirOwn) {
  std::vector<FigureCurve> curves = read(sweep).empty_curves();
  curves[0].at(figure_x(1)).ours = Spread{0.5, 0.25, 0.75};
  add_published(folder.write("published.csv", "system,x,y\r\nvllm,1.0,0.4\nvllm,2,0.6\nvllm,1,0.45\n"),
                curves);
  write_figure_csv(folder.path() / "fig.csv", curves);
  EXPECT_EQ(read_text_file(folder.path() / "fig.csv"),
            "system,x,ours,ours_min,ours_max,published\n"
            "vllm,1,0.5,0.25,0.75,0.4\n"
            "vllm,1,0.5,0.25,0.75,0.45\n"
            "vllm,2,,,,0.6\n"
            "vllm,2.5,,,,\n"
            "orca-swap,1,,,,\n");
}

TEST_F(FigureTest, NamesTheLineOfAMistakeInPublishedNumbers) {
  const auto error = [&](const std::string& text) {
    std::vector<FigureCurve> curves = read(sweep).empty_curves();
    return error_of([&] { add_published(folder.write("published.csv", text), curves); });
  };
  EXPECT_THAT(error("system,x\n"),
              EndsWith("published.csv:1: the columns must be system,x,y; found 'system,x'"));
  EXPECT_THAT(error("system,x,y\nvllm,1\n"), HasSubstr("published.csv:2: must have three cells"));
  EXPECT_THAT(error("system,x,y\nvllm,1,fast\n"),
              HasSubstr("published.csv:2: y must be a number; found 'fast'"));
  EXPECT_THAT(
      error("system,x,y\n\nvlm,1,1\n"),
      HasSubstr("published.csv:3: system 'vlm' is unknown; valid series of this figure: vllm, orca-swap"));
}

TEST(FigureX, NumbersHaveOneTextAndAreEqualByValue) {
  EXPECT_EQ(figure_x("2.0").text, "2");
  EXPECT_EQ(figure_x("1000000").text, "1000000");
  EXPECT_EQ(figure_x(0.1).text, "0.1");
  EXPECT_EQ(figure_x("2.50"), figure_x(2.5));
  EXPECT_FALSE(figure_x("2 sequences").number);
  EXPECT_FALSE(figure_x("nan").number);
}

}  // namespace
}  // namespace pagelab
