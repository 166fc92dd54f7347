#include "experiments/reproduce/claims.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/experiments/files.h"

namespace pagelab {
namespace {

using test::error_of;
using ::testing::HasSubstr;

FigureCurve curve(std::string name, std::vector<std::pair<double, double>> points) {
  FigureCurve curve{name, name, {}};
  for (const auto& [x, y] : points) {
    curve.at(figure_x(x)).ours = Spread{y, y, y};
  }
  return curve;
}

/// A latency curve that is flat and then rises, another to the right of it, and one of the categories a and
/// b.
std::vector<FigureCurve> curves() {
  std::vector<FigureCurve> all = {curve("slow", {{1, 0.1}, {2, 0.2}, {3, 0.6}, {4, 2.0}}),
                                  curve("fast", {{2, 0.1}, {4, 0.1}, {6, 0.3}, {8, 1.1}}), curve("bars", {})};
  all[2].at(figure_x("a")).ours = Spread{20, 19, 21};
  all[2].at(figure_x("b")).ours = Spread{0, 0, 0};
  return all;
}

const std::vector<std::string> series = {"slow", "fast", "bars"};

Claim claim_of(const std::string& keys) {
  return read_claim(
      parse_config("[[claim]]\ntext = \"the claim\"\n" + keys, "fig.toml").list("claim").front(), series);
}

Verdict verdict_of(const std::string& keys) {
  return judge(claim_of(keys), curves());
}

TEST(Claims, FindsTheFirstCrossingOfALevelBetweenTwoPoints) {
  const FigureCurve rising = curve("c", {{1, 0.2}, {2, 0.4}, {3, 0.2}, {4, 0.8}});
  EXPECT_DOUBLE_EQ(*crossing_of(rising, 0.3), 1.5);
  EXPECT_NEAR(*crossing_of(curve("c", {{1, 0.2}, {3, 0.8}}), 0.4, true), 2, 1e-12);
  EXPECT_FALSE(crossing_of(rising, 0.9));
  EXPECT_FALSE(crossing_of(curve("c", {}), 0.5));
}

TEST(Claims, ComparesACrossingWithinARelativeTolerance) {
  const std::string keys = "kind = \"crossing\"\nseries = \"slow\"\nlevel = 0.4\n";
  const Verdict verdict = verdict_of(keys + "published = 2.6\ntolerance = 0.05\n");
  EXPECT_TRUE(verdict.holds);
  EXPECT_DOUBLE_EQ(*verdict.ours, 2.5);
  EXPECT_EQ(verdict.detail, "ours 2.5, published 2.6 (-3.8 %, tolerance 5 %)");
  EXPECT_FALSE(verdict_of(keys + "published = 2.7\ntolerance = 0.05\n").holds);
  EXPECT_TRUE(verdict_of(keys + "at_least = 2.5\nat_most = 2.5\n").holds);
  EXPECT_FALSE(verdict_of(keys + "at_most = 2.4\n").holds);
}

TEST(Claims, SaysThatALevelIsNotReached) {
  const Verdict verdict = verdict_of("kind = \"crossing\"\nseries = \"fast\"\nlevel = 5\npublished = 1\n");
  EXPECT_FALSE(verdict.holds);
  EXPECT_FALSE(verdict.ours);
  EXPECT_EQ(verdict.detail, "fast stays below 5 from x = 2 to 8");
}

TEST(Claims, ComparesAValueAtANumberOrACategory) {
  EXPECT_TRUE(verdict_of("kind = \"value\"\nseries = \"slow\"\nx = 2\npublished = 0.2\n").holds);
  EXPECT_TRUE(verdict_of("kind = \"value\"\nseries = \"slow\"\nx = 2.0\npublished = 0.2\n").holds);
  EXPECT_TRUE(
      verdict_of(
          "kind = \"value\"\nseries = \"bars\"\nx = \"a\"\npublished = 21\ntolerance = 1\nabsolute = true\n")
          .holds);
  EXPECT_FALSE(
      verdict_of("kind = \"value\"\nseries = \"bars\"\nx = \"a\"\npublished = 21\ntolerance = 0.04\n").holds);
  EXPECT_EQ(verdict_of("kind = \"value\"\nseries = \"slow\"\nx = 2.5\npublished = 0.2\n").detail,
            "slow has no value at x = 2.5");
}

TEST(Claims, ComparesRatiosOfCrossingsOfValuesAndAlongOneCurve) {
  EXPECT_DOUBLE_EQ(
      *verdict_of("kind = \"ratio\"\nof = \"fast\"\nto = \"slow\"\nlevel = 0.6\nat_least = 2\n").ours,
      6.75 / 3);
  EXPECT_DOUBLE_EQ(*verdict_of("kind = \"ratio\"\nof = \"slow\"\nto = \"fast\"\nx = 2\nat_least = 2\n").ours,
                   2);
  EXPECT_DOUBLE_EQ(*verdict_of("kind = \"ratio\"\nseries = \"slow\"\nx = 4\nto_x = 2\nat_least = 2\n").ours,
                   10);
  EXPECT_EQ(verdict_of("kind = \"ratio\"\nof = \"slow\"\nto = \"fast\"\nx = \"all\"\nat_most = 3\n").detail,
            "at 4: ours 20, at most 3 wanted");
}

TEST(Claims, ARatioToZeroOrToNothingFails) {
  EXPECT_EQ(verdict_of("kind = \"ratio\"\nseries = \"bars\"\nx = \"a\"\nto_x = \"b\"\nat_least = 1\n").detail,
            "the divisor is 0");
  EXPECT_EQ(verdict_of("kind = \"ratio\"\nof = \"slow\"\nto = \"bars\"\nx = \"all\"\nat_least = 1\n").detail,
            "slow and bars have no x in common");
}

TEST(Claims, ComparesAnOrderWhereBothHavePoints) {
  EXPECT_EQ(verdict_of("kind = \"order\"\norder = [\"fast\", \"slow\"]\n").detail, "2 of 2 comparisons hold");
  const Verdict wrong = verdict_of("kind = \"order\"\norder = [\"slow\", \"fast\"]\nx_max = 3\n");
  EXPECT_FALSE(wrong.holds);
  EXPECT_EQ(wrong.detail, "0 of 1 comparisons hold; at 2 slow has 0.2, fast 0.1");
  EXPECT_TRUE(verdict_of("kind = \"order\"\norder = [\"slow\", \"fast\"]\nbetter = \"higher\"\n").holds);
  EXPECT_TRUE(verdict_of("kind = \"order\"\norder = [\"slow\", \"fast\"]\nx_max = 3\ntolerance = 1\n").holds);
  EXPECT_FALSE(verdict_of("kind = \"order\"\norder = [\"slow\", \"bars\"]\n").holds);
}

TEST(Claims, FindsTheSmallestValueAndWhereTwoCurvesCross) {
  EXPECT_TRUE(verdict_of("kind = \"minimum_in\"\nseries = \"slow\"\nx = [1, 2]\n").holds);
  EXPECT_EQ(verdict_of("kind = \"minimum_in\"\nseries = \"slow\"\nx = [3.0, 4.0]\n").detail,
            "smallest at 1: 0.1");
  const std::vector<FigureCurve> pair = {curve("slow", {{1, 1}, {2, 2}, {4, 4}}),
                                         curve("fast", {{1, 2}, {2, 3}, {4, 3}})};
  const std::string crosses = "kind = \"crosses\"\nseries = [\"slow\", \"fast\"]\n";
  EXPECT_EQ(judge(claim_of(crosses), pair).detail, "slow is below at 2 and not below at 4");
  EXPECT_TRUE(judge(claim_of(crosses), pair).holds);
  EXPECT_EQ(judge(claim_of(crosses + "x_max = 3\n"), pair).detail, "slow stays below fast");
}

TEST(Claims, NamesWhatIsWrongInAClaim) {
  const auto error = [](const std::string& keys) { return error_of([&] { claim_of(keys); }); };
  EXPECT_EQ(
      error("kind = \"crosing\"\n"),
      "fig.toml:3: key 'claim.kind' must be one of: order, crossing, value, ratio, minimum_in, crosses; "
      "found a text (\"crosing\"); did you mean 'crossing'?");
  EXPECT_EQ(
      error("kind = \"value\"\nseries = \"slw\"\nx = 1\npublished = 1\n"),
      "fig.toml:4: key 'claim.series' 'slw' is unknown; valid series of this figure: slow, fast, bars; did "
      "you mean 'slow'?");
  EXPECT_THAT(error("kind = \"value\"\nseries = \"slow\"\nx = 1\n"),
              HasSubstr("key 'claim.published' is missing, and so are"));
  EXPECT_THAT(error("kind = \"value\"\nseries = \"slow\"\npublished = 1\n"),
              HasSubstr("key 'claim.x' must be one number or one text"));
  EXPECT_THAT(error("kind = \"value\"\nseries = \"slow\"\nx = 1\npublished = 0\n"),
              HasSubstr("needs absolute = true"));
  EXPECT_THAT(error("kind = \"ratio\"\nof = \"slow\"\npublished = 1\n"),
              HasSubstr("key 'claim.of' and 'claim.to' are both needed, with one of level and x"));
  EXPECT_THAT(error("kind = \"crossing\"\nseries = \"slow\"\nlevel = 1\npublishd = 1\n"),
              HasSubstr("fig.toml:6: key 'claim.publishd' is unknown"));
  EXPECT_THAT(error("kind = \"minimum_in\"\nseries = \"slow\"\nx = true\n"),
              HasSubstr("must be a number, a text or a list of numbers"));
}

TEST(Claims, AVerdictSaysWhatWasCompared) {
  const Claim claim =
      claim_of("kind = \"value\"\nseries = \"slow\"\nx = 2\npublished = 0.25\ntolerance = 0.1\n");
  const nlohmann::ordered_json json = verdict_json(claim, judge(claim, curves()));
  EXPECT_EQ(json["text"], "the claim");
  EXPECT_EQ(json["holds"], false);
  EXPECT_EQ(json["ours"], 0.2);
  EXPECT_EQ(json["published"], 0.25);
  EXPECT_EQ(json["tolerance"], 0.1);
  EXPECT_EQ(json["detail"], "ours 0.2, published 0.25 (-20.0 %, tolerance 10 %)");
}

}  // namespace
}  // namespace pagelab
