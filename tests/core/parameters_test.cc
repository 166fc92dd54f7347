#include "core/parameters.h"

#include <gtest/gtest.h>

#include <limits>

namespace pagelab {
namespace {

const std::vector<ParameterSpec> kSpecs = {
    {.name = "max_tokens", .default_value = 2560, .unit = "tokens", .help = "in a step", .minimum = 1},
    {.name = "share", .default_value = 0.5, .maximum = 1, .above = 0},
    {.name = "mode", .default_value = "swap", .choices = {"swap", "recompute"}},
    {.name = "verbose", .default_value = false},
    {.name = "edges", .default_value = IntegerList{1, 2}, .minimum = 0}};

TEST(Parameters, HoldTheDefaultsWithTheTypeOfTheLiteral) {
  const Parameters p(kSpecs);
  EXPECT_EQ(p.integer("max_tokens"), 2560);
  EXPECT_EQ(p.real("share"), 0.5);
  EXPECT_EQ(p.text("mode"), "swap");
  EXPECT_FALSE(p.flag("verbose"));
  EXPECT_EQ(p.integers("edges"), (IntegerList{1, 2}));
}

TEST(Parameters, IterateInTheOrderOfDeclaration) {
  std::vector<std::string> names;
  for (const Parameters::Entry& entry : Parameters(kSpecs)) {
    names.push_back(entry.spec.name);
  }
  EXPECT_EQ(names, (std::vector<std::string>{"max_tokens", "share", "mode", "verbose", "edges"}));
}

TEST(Parameters, KeepWhatIsSet) {
  Parameters p(kSpecs);
  p.set("max_tokens", std::int64_t{7});
  p.set("mode", std::string("recompute"));
  EXPECT_EQ(p.integer("max_tokens"), 7);
  EXPECT_EQ(p.text("mode"), "recompute");
}

TEST(ParametersDeathTest, AbortOnErrorsOfTheProgram) {
  const Parameters p(kSpecs);
  EXPECT_DEATH(p.integer("max_token"), "'max_token' was not declared");
  EXPECT_DEATH(p.real("max_tokens"), "'max_tokens' is an integer");
  EXPECT_DEATH(Parameters({{.name = "a", .default_value = 1}, {.name = "a", .default_value = 2}}),
               "declared twice");
  EXPECT_DEATH(Parameters({{.name = "a", .default_value = 0, .minimum = 1}}), "default of parameter 'a'");
}

TEST(ParameterSpec, BoundsIncludeMinimumAndMaximumButNotAbove) {
  EXPECT_TRUE(is_valid(kSpecs[0], std::int64_t{1}));
  EXPECT_FALSE(is_valid(kSpecs[0], std::int64_t{0}));
  EXPECT_FALSE(is_valid(kSpecs[0], 1.0));  // another type
  EXPECT_TRUE(is_valid(kSpecs[1], 1.0));
  EXPECT_FALSE(is_valid(kSpecs[1], 0.0));
  EXPECT_FALSE(is_valid(kSpecs[1], 1.1));
  EXPECT_FALSE(is_valid(kSpecs[1], std::numeric_limits<double>::quiet_NaN()));
  EXPECT_FALSE(is_valid(kSpecs[2], std::string("swop")));
  EXPECT_FALSE(is_valid(kSpecs[4], IntegerList{3, -1}));
  const ParameterSpec reals{.name = "curve", .default_value = RealList{0.5}, .minimum = 0};
  EXPECT_FALSE(is_valid(reals, RealList{0.5, -1}));
  EXPECT_FALSE(is_valid(reals, RealList{std::numeric_limits<double>::infinity()}));
  const ParameterSpec unbounded{.name = "x", .default_value = 0.0};
  EXPECT_FALSE(is_valid(unbounded, std::numeric_limits<double>::infinity()));
}

TEST(ParameterSpec, SaysWhatItMustBe) {
  EXPECT_EQ(domain_text(kSpecs[0]), "an integer, at least 1, in tokens");
  EXPECT_EQ(domain_text(kSpecs[1]), "a real number, greater than 0 and at most 1");
  EXPECT_EQ(domain_text(kSpecs[2]), "one of: swap, recompute");
  EXPECT_EQ(domain_text(kSpecs[3]), "true or false");
}

TEST(ParameterValue, PrintsAsToml) {
  EXPECT_EQ(toml_text(true), "true");
  EXPECT_EQ(toml_text(std::int64_t{-3}), "-3");
  EXPECT_EQ(toml_text(1.0), "1.0");
  EXPECT_EQ(toml_text(0.1), "0.1");
  EXPECT_EQ(toml_text(1e-10), "1e-10");
  EXPECT_EQ(toml_text("a \"b\" \\ \n"), "\"a \\\"b\\\" \\\\ \\u000a\"");
  EXPECT_EQ(toml_text(IntegerList{1, 2, 3}), "[1, 2, 3]");
  EXPECT_EQ(toml_text(RealList{1, 0.5, 1e-10}), "[1.0, 0.5, 1e-10]");
  EXPECT_EQ(toml_text(TextList{"a", "b \"c\""}), "[\"a\", \"b \\\"c\\\"\"]");
}

TEST(NearestName, FindsWhatWasMeant) {
  const std::vector<std::string> names = {"lengths", "arrivals", "requests"};
  EXPECT_EQ(nearest_name("arivals", names), "arrivals");
  EXPECT_EQ(nearest_name("length", names), "lengths");
  EXPECT_EQ(nearest_name("arrivasl", names), "arrivals");
}

TEST(NearestName, StaysSilentWhenNothingIsNear) {
  EXPECT_EQ(nearest_name("temperature", {"lengths", "arrivals"}), std::nullopt);
  EXPECT_EQ(nearest_name("ab", {"xy", "z"}), std::nullopt);
  EXPECT_EQ(nearest_name("x", {}), std::nullopt);
}

TEST(UnknownText, ListsTheValidNames) {
  EXPECT_EQ(unknown_text("mixd", "names", {"mixed", "chunked"}),
            "'mixd' is unknown; valid names: mixed, chunked; did you mean 'mixed'?");
  EXPECT_EQ(unknown_text("zzzzzz", "names", {"mixed", "chunked"}),
            "'zzzzzz' is unknown; valid names: mixed, chunked");
}

}  // namespace
}  // namespace pagelab
