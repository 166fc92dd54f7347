#include "core/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "core/error.h"

namespace pagelab {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

const std::vector<ParameterSpec> kRoot = {{.name = "seed", .default_value = 1, .minimum = 0}};
const std::vector<ParameterSpec> kSection = {
    {.name = "kind", .default_value = "poisson", .choices = {"poisson", "constant"}},
    {.name = "rate_per_s", .default_value = 1.0, .unit = "requests/s", .above = 0},
    {.name = "file", .default_value = "", .path = true}};

/// Resolves the test document: root keys and the section [load].
Parameters resolve(const std::string& text, std::vector<std::string> overrides = {}) {
  const ConfigTable root = parse_config(text, "dir/test.toml", overrides);
  root.resolve(kRoot, {"load"});
  return root.section("load").resolve(kSection);
}

std::string error_of(const std::string& text, std::vector<std::string> overrides = {}) {
  try {
    resolve(text, std::move(overrides));
  } catch (const InputError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Config, ReadsValuesAndFillsInDefaults) {
  const Parameters p = resolve("[load]\nrate_per_s = 2.5\n");
  EXPECT_EQ(p.real("rate_per_s"), 2.5);
  EXPECT_EQ(p.text("kind"), "poisson");
}

TEST(Config, TakesAnAbsentSectionAsAllDefaults) {
  EXPECT_EQ(resolve("").text("kind"), "poisson");
}

TEST(Config, TakesAnIntegerWhereARealIsWanted) {
  EXPECT_EQ(resolve("[load]\nrate_per_s = 3\n").real("rate_per_s"), 3.0);
}

TEST(Config, NamesAnUnknownKeyWithPlaceAndSuggestion) {
  EXPECT_EQ(error_of("seed = 1\n[load]\n\nrate_per_sec = 3\n"),
            "dir/test.toml:4: key 'load.rate_per_sec' is unknown; valid keys here: kind, rate_per_s, file; "
            "did you mean 'rate_per_s'?");
}

TEST(Config, NamesAnUnknownSection) {
  EXPECT_EQ(error_of("[laod]\nx = 1\n"),
            "dir/test.toml:1: key 'laod' is unknown; valid keys here: seed, load; did you mean 'load'?");
}

TEST(Config, SaysWhatItFoundAndWhatIsWanted) {
  EXPECT_EQ(error_of("seed = \"one\"\n"),
            "dir/test.toml:1: key 'seed' must be an integer, at least 0; found a text (\"one\")");
  EXPECT_EQ(error_of("seed = 2.0\n"),
            "dir/test.toml:1: key 'seed' must be an integer, at least 0; found a real number (2.0)");
  EXPECT_EQ(error_of("\nseed = -1\n"),
            "dir/test.toml:2: key 'seed' must be an integer, at least 0; "
            "found an integer (-1)");
  EXPECT_EQ(error_of("[load]\nrate_per_s = 0\n"),
            "dir/test.toml:2: key 'load.rate_per_s' must be a real number, "
            "greater than 0, in requests/s; found an integer (0)");
  EXPECT_THAT(error_of("seed = 2026-01-01\n"), HasSubstr("found a date or time"));
  EXPECT_THAT(error_of("seed = [1, 2.5]\n"), HasSubstr("found a list of other things than integers"));
  EXPECT_THAT(error_of("[seed]\n"), HasSubstr("key 'seed' must be an integer, at least 0; found a section"));
  EXPECT_THAT(error_of("load = 3\n"),
              HasSubstr("dir/test.toml:1: key 'load' must be a section, [load]; found"));
}

TEST(Config, ListsTheChoicesAndTheNearest) {
  EXPECT_EQ(error_of("[load]\nkind = \"poison\"\n"),
            "dir/test.toml:2: key 'load.kind' must be one of: poisson, constant; found a text (\"poison\"); "
            "did you "
            "mean 'poisson'?");
}

TEST(Config, NamesAMissingKey) {
  const ConfigTable root = parse_config("\n[load]\n", "t.toml");
  const std::vector<ParameterSpec> specs = {{.name = "file", .default_value = "", .required = true}};
  EXPECT_THROW(
      {
        try {
          root.section("load").resolve(specs);
        } catch (const InputError& error) {
          EXPECT_STREQ(error.what(), "t.toml:2: key 'load.file' is missing; it must be a text");
          throw;
        }
      },
      InputError);
}

TEST(Config, GivesTheLineOfASyntaxError) {
  EXPECT_THAT(error_of("seed = 1\nkind = = 2\n"), StartsWith("dir/test.toml:2: "));
  EXPECT_THAT(error_of("seed = 1\nseed = 2\n"), StartsWith("dir/test.toml:2: "));
  EXPECT_THAT(error_of("[load\n"), StartsWith("dir/test.toml:1: "));
}

TEST(Config, OverridesTakeTomlValuesAndPlainWords) {
  EXPECT_EQ(resolve("[load]\nrate_per_s = 2\n", {"load.rate_per_s=7.5"}).real("rate_per_s"), 7.5);
  EXPECT_EQ(resolve("", {"load.kind=constant"}).text("kind"), "constant");
  EXPECT_EQ(resolve("", {"load.kind=\"constant\""}).text("kind"), "constant");
  EXPECT_EQ(resolve("", {"load={kind = \"constant\"}"}).text("kind"), "constant");
}

TEST(Config, TheLastOverrideOfAKeyWins) {
  EXPECT_EQ(resolve("", {"load.rate_per_s=1", "load.rate_per_s=2"}).real("rate_per_s"), 2.0);
}

TEST(Config, BlamesTheOverrideForItsErrors) {
  EXPECT_EQ(
      error_of("", {"load.knd=constant"}),
      "--set load.knd: key 'load.knd' is unknown; valid keys here: kind, rate_per_s, file; did you mean "
      "'kind'?");
  EXPECT_THAT(error_of("", {"seed=abc"}), StartsWith("--set seed: key 'seed' must be an integer"));
  EXPECT_THAT(error_of("", {"seed.x=1"}), StartsWith("--set seed.x: key 'seed' must be an integer"));
  EXPECT_THAT(error_of("seed = 1\n", {"seed.x=1"}), HasSubstr("--set seed.x: key 'seed' is not a section"));
  EXPECT_THAT(error_of("", {"seed"}), HasSubstr("expected KEY=VALUE"));
  EXPECT_THAT(error_of("", {"=3"}), HasSubstr("expected KEY=VALUE"));
  EXPECT_THAT(error_of("", {"load..kind=3"}), HasSubstr("is not a key"));
  EXPECT_THAT(error_of("", {"seed=[1"}), StartsWith("--set seed: "));
  EXPECT_THAT(error_of("", {"seed=\"a\"\nother = 1"}), HasSubstr("more than one value"));
}

TEST(Config, PathsStartWhereTheyAreWritten) {
  const auto here = std::filesystem::current_path();
  EXPECT_EQ(resolve("[load]\nfile = \"../a.csv\"\n").text("file"), (here / "a.csv").string());
  EXPECT_EQ(resolve("", {"load.file=a.csv"}).text("file"), (here / "a.csv").string());
  EXPECT_EQ(resolve("[load]\nfile = \"/x/a.csv\"\n").text("file"), "/x/a.csv");
  EXPECT_EQ(resolve("").text("file"), "");
}

TEST(Config, RefusesSectionsNestedWithoutReason) {
  std::string deep = "a";
  for (int i = 0; i < 100; ++i) {
    deep += ".a";
  }
  EXPECT_THAT(error_of("[" + deep + "]\n"), HasSubstr("nested"));
  EXPECT_THAT(error_of("", {deep + "=1"}), HasSubstr("is not a key"));
}

TEST(Config, AFileThatCannotBeReadIsNamed) {
  const auto error = [](const std::string& path) {
    try {
      read_config(path);
    } catch (const InputError& e) {
      return std::string(e.what());
    }
    return std::string("no error");
  };
  EXPECT_EQ(error("absent.toml"), "absent.toml: no such file");
  EXPECT_EQ(error("/"), "/: not a regular file");
}

TEST(Config, ReadsAFile) {
  const auto path = std::filesystem::path(::testing::TempDir()) / "pagelab_config_test.toml";
  std::ofstream(path) << "seed = 5\n";
  EXPECT_EQ(read_config(path).resolve(kRoot).integer("seed"), 5);
  std::ofstream(path, std::ios::trunc);
  EXPECT_EQ(read_config(path).resolve(kRoot).integer("seed"), 1);
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace pagelab
