#include "core/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "core/error.h"
#include "tests/support/temporary_folder.h"

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
  EXPECT_EQ(
      error_of("[laod]\nx = 1\n"),
      "dir/test.toml:1: key 'laod' is unknown; valid keys here: seed, load, include; did you mean 'load'?");
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
  EXPECT_THAT(error_of("seed = [1, 2.5]\n"), HasSubstr("found a list of real numbers ([1.0, 2.5])"));
  EXPECT_THAT(error_of("seed = [1, true]\n"),
              HasSubstr("found a list of other things than numbers or texts"));
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

TEST(ConfigList, GivesItsSectionsInOrder) {
  const ConfigTable root = parse_config("[[load]]\nseed = 3\n[[load]]\n[other]\n", "test.toml");
  const std::vector<ConfigTable> list = root.list("load");
  ASSERT_EQ(list.size(), 2u);
  EXPECT_EQ(list[0].path(), "load");
  EXPECT_EQ(list[0].resolve(kRoot).integer("seed"), 3);
  EXPECT_EQ(list[1].resolve(kRoot).integer("seed"), 1);
  EXPECT_TRUE(root.list("absent").empty());
  EXPECT_THAT(root.keys(), ::testing::UnorderedElementsAre("load", "other"));
}

TEST(ConfigList, ErrorsNameTheLineOfTheSection) {
  const ConfigTable root = parse_config("[[load]]\nseed = 1\n[[load]]\nsed = 1\n[other]\n", "test.toml");
  const auto error = [](const auto& body) -> std::string {
    try {
      body();
    } catch (const InputError& wrong) {
      return wrong.what();
    }
    return "no error";
  };
  EXPECT_EQ(error([&] { root.list("load")[1].resolve(kRoot); }),
            "test.toml:4: key 'load.sed' is unknown; valid keys here: seed; did you mean 'seed'?");
  EXPECT_EQ(error([&] { root.list("other"); }),
            "test.toml:5: key 'other' must be a list of sections, [[other]]; found a section");
  EXPECT_THAT(error([&] { root.section("load"); }), HasSubstr("found a list of sections"));
}

TEST(ConfigList, ListsOfTextsAndKeysOfSeveralTypes) {
  const ConfigTable root = parse_config("names = [\"a\", \"b\"]\nnone = []\nx = 2\n", "test.toml");
  const Parameters p = root.resolve({{.name = "names", .default_value = TextList()},
                                     {.name = "none", .default_value = TextList{"standard"}}},
                                    {"x"});
  EXPECT_EQ(p.texts("names"), (TextList{"a", "b"}));
  EXPECT_TRUE(p.texts("none").empty());
  EXPECT_EQ(root.written("x"), ParameterValue(std::int64_t{2}));
  EXPECT_FALSE(root.written("y"));
}

/// Documents on disk, each laid over what it includes.
class ConfigLayers : public ::testing::Test {
 protected:
  std::filesystem::path path(const std::string& name) const { return folder_.path() / name; }
  void write(const std::string& name, const std::string& text) { folder_.write(name, text); }
  /// The section [load] of the layers.
  Parameters load(std::vector<std::string> names, std::vector<std::string> overrides = {}) const {
    std::vector<std::filesystem::path> files;
    for (const std::string& name : names) {
      files.push_back(path(name));
    }
    const ConfigTable root = read_config(files, overrides);
    root.resolve(kRoot, {"load"});
    return root.section("load").resolve(kSection);
  }
  /// The error without the folder's name.
  std::string error(std::vector<std::string> names, std::vector<std::string> overrides = {}) const {
    try {
      load(std::move(names), std::move(overrides));
    } catch (const InputError& e) {
      std::string text = e.what();
      const std::string folder = folder_.path().string() + "/";
      for (std::size_t at = text.find(folder); at != std::string::npos; at = text.find(folder)) {
        text.erase(at, folder.size());
      }
      return text;
    }
    return "no error";
  }

 private:
  test::TemporaryFolder folder_;
};

TEST_F(ConfigLayers, TheIncludingFileWinsKeyByKeyAndTheLastIncludeBeforeTheFirst) {
  write("low.toml", "seed = 1\n[load]\nrate_per_s = 1\nkind = \"constant\"\nfile = \"a\"\n");
  write("mid.toml", "seed = 2\n[load]\nrate_per_s = 2\n");
  write("top.toml", "include = [\"low.toml\", \"mid.toml\"]\nseed = 3\n");
  EXPECT_EQ(read_config(path("top.toml")).resolve(kRoot, {"load"}).integer("seed"), 3);
  const Parameters p = load({"top.toml"});
  EXPECT_EQ(p.real("rate_per_s"), 2.0);
  EXPECT_EQ(p.text("kind"), "constant");
}

TEST_F(ConfigLayers, AreGivenByTheProgramToo) {
  write("low.toml", "seed = 1\n[load]\nrate_per_s = 1\nfile = \"a\"\n");
  write("top.toml", "[load]\nrate_per_s = 2\n");
  EXPECT_EQ(load({"low.toml", "top.toml"}).real("rate_per_s"), 2.0);
  EXPECT_EQ(load({"top.toml", "low.toml"}).real("rate_per_s"), 1.0);
  EXPECT_EQ(load({"low.toml", "top.toml"}, {"load.rate_per_s=7"}).real("rate_per_s"), 7.0);
  EXPECT_EQ(read_config(std::span<const std::filesystem::path>()).resolve(kRoot).integer("seed"), 1);
}

TEST_F(ConfigLayers, IncludesNestAndPathsStartWhereTheyAreWritten) {
  write("base/load/file.toml", "[load]\nfile = \"x.csv\"\n");
  write("base/base.toml", "include = [\"load/file.toml\"]\n[load]\nrate_per_s = 5\n");
  write("runs/top.toml", "include = [\"../base/base.toml\"]\n[load]\nkind = \"constant\"\n");
  const Parameters p = load({"runs/top.toml"});
  EXPECT_EQ(p.text("file"), path("base/load/x.csv").string());
  EXPECT_EQ(p.real("rate_per_s"), 5.0);
  EXPECT_EQ(p.text("kind"), "constant");
}

TEST_F(ConfigLayers, AFileMayBeIncludedTwiceOnDifferentWays) {
  write("low.toml", "[load]\nrate_per_s = 1\n");
  write("a.toml", "include = [\"low.toml\"]\n");
  write("top.toml", "include = [\"low.toml\", \"a.toml\"]\n");
  EXPECT_EQ(load({"top.toml"}).real("rate_per_s"), 1.0);
}

TEST_F(ConfigLayers, ASectionOfAnotherKindStartsAfresh) {
  write("low.toml", "[load]\nkind = \"poisson\"\nrate_per_s = 9\nfile = \"a\"\n");
  write("other.toml", "include = [\"low.toml\"]\n[load]\nkind = \"constant\"\n");
  write("same.toml", "include = [\"low.toml\"]\n[load]\nkind = \"poisson\"\n");
  EXPECT_EQ(load({"other.toml"}).real("rate_per_s"), 1.0);
  EXPECT_EQ(load({"other.toml"}).text("file"), "");
  EXPECT_EQ(load({"same.toml"}).real("rate_per_s"), 9.0);
}

TEST_F(ConfigLayers, AListReplacesAList) {
  const std::vector<ParameterSpec> specs = {{.name = "edges", .default_value = IntegerList{}}};
  write("low.toml", "edges = [1, 2, 3]\n");
  write("top.toml", "include = [\"low.toml\"]\nedges = [4]\n");
  EXPECT_EQ(read_config(path("top.toml")).resolve(specs).integers("edges"), (IntegerList{4}));
}

TEST_F(ConfigLayers, ErrorsNameTheLayerThatWroteTheKey) {
  write("low.toml", "seed = 1\n\n[load]\nrate_per_s = -1\n");
  write("top.toml", "include = [\"low.toml\"]\n[load]\nkind = \"constant\"\n");
  EXPECT_THAT(error({"top.toml"}), StartsWith("low.toml:4: key 'load.rate_per_s' must be a real number"));
  write("low.toml", "[load]\nrate = 1\n");
  EXPECT_THAT(error({"top.toml"}), StartsWith("low.toml:2: key 'load.rate' is unknown"));
  write("low.toml", "load = 3\n");
  EXPECT_EQ(error({"top.toml"}), "no error") << "a section replaces what is none";
  write("low.toml", "[load]\nrate_per_s = = 1\n");
  EXPECT_THAT(error({"top.toml"}), StartsWith("low.toml:2: "));
  EXPECT_THAT(error({"top.toml"}, {"seed=x"}), StartsWith("low.toml:2: "));
}

TEST_F(ConfigLayers, AMissingFileIsBlamedOnTheLineThatIncludesIt) {
  write("top.toml", "seed = 1\ninclude = [\"sub/absent.toml\"]\n");
  EXPECT_EQ(error({"top.toml"}), "top.toml:2: key 'include': sub/absent.toml: no such file");
  write("top.toml", "include = [\n  \"low.toml\",\n  \".\"]\n");
  write("low.toml", "");
  EXPECT_THAT(error({"top.toml"}),
              AllOf(StartsWith("top.toml:3: key 'include': "), HasSubstr("not a regular")));
  EXPECT_EQ(error({"none.toml"}), "none.toml: no such file");
}

TEST_F(ConfigLayers, ACircleIsNamed) {
  write("self.toml", "include = [\"./self.toml\"]\n");
  EXPECT_EQ(error({"self.toml"}),
            "self.toml:1: key 'include' goes round in a circle: self.toml -> self.toml");
  write("a.toml", "include = [\"b.toml\"]\n");
  write("b.toml", "\ninclude = [\"c.toml\"]\n");
  write("c.toml", "include = [\"../" + path("").parent_path().filename().string() + "/b.toml\"]\n");
  EXPECT_THAT(error({"a.toml"}),
              StartsWith("c.toml:1: key 'include' goes round in a circle: b.toml -> c.toml -> "));
}

TEST_F(ConfigLayers, ManyFilesInARowAreAnError) {
  for (int i = 0; i < 50; ++i) {
    write(std::to_string(i) + ".toml", "include = [\"" + std::to_string(i + 1) + ".toml\"]\n");
  }
  EXPECT_THAT(error({"0.toml"}), HasSubstr("files nested more than 32 deep"));
}

TEST_F(ConfigLayers, IncludeMustBeAListOfTexts) {
  for (const char* value : {"\"low.toml\"", "3", "[1]", "[\"\"]", "[\"low.toml\", 2]", "[[\"low.toml\"]]"}) {
    write("top.toml", std::string("seed = 1\ninclude = ") + value + "\n");
    write("low.toml", "");
    EXPECT_EQ(error({"top.toml"}),
              "top.toml:2: key 'include' must be a list of texts, files to include, such as [\"base.toml\"]")
        << value;
  }
  write("top.toml", "include = []\n");
  EXPECT_EQ(error({"top.toml"}), "no error");
}

TEST_F(ConfigLayers, OnlyTheRootOfAFileIncludes) {
  write("top.toml", "[load]\ninclude = [\"low.toml\"]\n");
  EXPECT_THAT(error({"top.toml"}), StartsWith("top.toml:2: key 'load.include' is unknown"));
  write("top.toml", "");
  EXPECT_EQ(error({"top.toml"}, {"include=[\"low.toml\"]"}), "--set include: only a file can include others");
}

TEST_F(ConfigLayers, AMisspeltIncludeIsSuggested) {
  write("top.toml", "inclde = [\"low.toml\"]\n");
  EXPECT_THAT(error({"top.toml"}), AllOf(StartsWith("top.toml:1: "), HasSubstr("did you mean 'include'?")));
}

}  // namespace
}  // namespace pagelab
