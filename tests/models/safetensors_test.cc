#include "models/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "core/error.h"
#include "tests/models/model_files.h"

namespace pagelab {
namespace {

using ::testing::HasSubstr;

std::vector<SafetensorsEntry> parse(const std::string& file) {
  return parse_safetensors(std::as_bytes(std::span(file)), "bad.safetensors");
}

std::string error_of(const std::string& file) {
  try {
    parse(file);
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("bad.safetensors"));
    return error.what();
  }
  return "accepted";
}

std::string error_of(const std::string& header, std::size_t data_bytes) {
  return error_of(test::safetensors_text(header, data_bytes));
}

TEST(Safetensors, ReadsTensorsInTheOrderOfTheirData) {
  const auto entries = parse(test::safetensors_text(
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]},)"
      R"("a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}})",
      16));
  ASSERT_EQ(entries.size(), 2u);
  EXPECT_EQ(entries[0].name, "a");
  EXPECT_EQ(entries[0].size, 4);
  EXPECT_TRUE(entries[0].shape.empty());
  EXPECT_EQ(entries[1].dtype, "BF16");
  EXPECT_EQ(entries[1].begin, entries[0].begin + 4);
  EXPECT_EQ(entries[1].shape, (std::vector<std::int64_t>{2, 3}));
}

TEST(Safetensors, AcceptsNoTensorsAndTensorsWithoutElements) {
  EXPECT_TRUE(parse(test::safetensors_text("{}", 0)).empty());
  EXPECT_EQ(
      parse(test::safetensors_text(R"({"a":{"dtype":"F32","shape":[0,9],"data_offsets":[0,0]}})", 0)).size(),
      1u);
}

TEST(Safetensors, RefusesAFileWithoutAHeader) {
  EXPECT_THAT(error_of(std::string()), HasSubstr("too few"));
  EXPECT_THAT(error_of(std::string(7, '\0')), HasSubstr("too few"));
  EXPECT_THAT(error_of(std::string(8, '\0')), HasSubstr("does not begin with '{'"));
}

TEST(Safetensors, RefusesAHeaderLongerThanTheFileOrTheLimit) {
  std::string file = test::safetensors_text("{}", 0);
  file[0] = 3;
  EXPECT_THAT(error_of(file), HasSubstr("a header of 3 bytes in a file of 10"));
  file[7] = '\x7F';
  EXPECT_THAT(error_of(file), HasSubstr("at most 100000000"));
}

TEST(Safetensors, RefusesAHeaderThatIsNotAnObjectOfTensors) {
  EXPECT_THAT(error_of("[]", 0), HasSubstr("does not begin with '{'"));
  EXPECT_THAT(error_of("{\"a\":", 0), HasSubstr("not valid JSON"));
  EXPECT_THAT(error_of("{} {}", 0), HasSubstr("not valid JSON"));
  EXPECT_THAT(error_of(std::string("{\"a\xFF\":{}}"), 0), HasSubstr("not valid JSON"));
  EXPECT_THAT(error_of(R"({"a":3})", 0), HasSubstr("'a' is the number 3, not an object"));
  EXPECT_THAT(error_of(R"({"__metadata__":{"a":[]}})", 0), HasSubstr("not a string"));
  EXPECT_THAT(error_of(R"({"a":)" + std::string(100000, '['), 0), HasSubstr("'a' is an array"));
}

TEST(Safetensors, RefusesNamesThatAreThereTwice) {
  const std::string tensor = R"("a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]})";
  EXPECT_THAT(error_of("{" + tensor + "," + tensor + "}", 4), HasSubstr("'a' is there twice"));
  EXPECT_THAT(error_of(R"({"a":{"dtype":"F32","dtype":"F32"}})", 0), HasSubstr("'dtype' is there twice"));
}

TEST(Safetensors, RefusesMissingAndUnknownFields) {
  EXPECT_THAT(error_of(R"({"a":{"shape":[1],"data_offsets":[0,4]}})", 4),
              HasSubstr("tensor 'a': dtype is missing"));
  EXPECT_THAT(error_of(R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", 4), HasSubstr("shape is missing"));
  EXPECT_THAT(error_of(R"({"a":{"dtype":"F32","shape":[1]}})", 4), HasSubstr("data_offsets is missing"));
  EXPECT_THAT(error_of(R"({"a":{"order":"C"}})", 4), HasSubstr("unknown field 'order'"));
  EXPECT_THAT(error_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", 4),
              HasSubstr("1 numbers, not 2"));
}

TEST(Safetensors, RefusesUnknownDtypes) {
  EXPECT_THAT(error_of(R"({"a":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}})", 4),
              HasSubstr("tensor 'a': unknown dtype 'F31' (known: BOOL"));
  EXPECT_THAT(error_of(R"({"a":{"dtype":4,"shape":[1],"data_offsets":[0,4]}})", 4),
              HasSubstr("not a string"));
}

TEST(Safetensors, RefusesNegativeFractionalAndHugeShapes) {
  const auto with_shape = [](const std::string& shape) {
    return error_of(R"({"a":{"dtype":"F32","shape":)" + shape + R"(,"data_offsets":[0,4]}})", 4);
  };
  EXPECT_THAT(with_shape("[-1]"), HasSubstr("shape holds the number -1"));
  EXPECT_THAT(with_shape("[1.5]"), HasSubstr("shape holds the number 1.5"));
  EXPECT_THAT(with_shape("[[1]]"), HasSubstr("shape holds an array"));
  EXPECT_THAT(with_shape("1"), HasSubstr("shape is the number 1, not an array"));
  EXPECT_THAT(with_shape("[18446744073709551615]"), HasSubstr("shape holds the number"));
  EXPECT_THAT(with_shape("[4611686018427387905]"), HasSubstr("too large"));
  EXPECT_THAT(with_shape("[4294967296,4294967297]"), HasSubstr("too large"));
}

TEST(Safetensors, RefusesByteCountsThatDoNotFitTheShape) {
  EXPECT_THAT(error_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4),
              HasSubstr("span 4 bytes but shape [2] of F32 takes 8"));
}

TEST(Safetensors, RefusesOffsetsThatGoBackwardsOverlapOrLeaveHoles) {
  const auto two = [](const std::string& a, const std::string& b, std::size_t bytes) {
    return error_of(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)" + a +
                        R"(},"b":{"dtype":"U8","shape":[4],"data_offsets":)" + b + "}}",
                    bytes);
  };
  EXPECT_THAT(two("[0,4]", "[8,4]", 8), HasSubstr("tensor 'b': data_offsets [8, 4] go backwards"));
  EXPECT_THAT(two("[0,4]", "[3,7]", 8),
              HasSubstr("tensor 'b': its data begins at byte 3 of the data, overlapping"));
  EXPECT_THAT(two("[0,4]", "[0,4]", 4), HasSubstr("overlapping"));
  EXPECT_THAT(two("[0,4]", "[5,9]", 9),
              HasSubstr("tensor 'b': its data begins at byte 5 of the data, leaving a hole"));
  EXPECT_THAT(two("[1,5]", "[5,9]", 9), HasSubstr("leaving a hole"));
}

TEST(Safetensors, RefusesDataThatIsTruncatedOrHasARest) {
  const std::string header = R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})";
  EXPECT_THAT(error_of(header, 3), HasSubstr("ends at byte 4 of the data, which has only 3"));
  EXPECT_THAT(error_of(header, 5), HasSubstr("1 bytes after the last tensor"));
  EXPECT_THAT(
      error_of(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[9223372036854775803,9223372036854775807]}})",
               4),
      HasSubstr("outside of the file"));
}

TEST(Safetensors, MapsAFileAndGivesItsBytes) {
  const test::TemporaryFolder folder;
  std::string content = test::safetensors_of({{"a", {2}}, {"b", {1}}});
  const float value = 2.5f;
  std::memcpy(content.data() + content.size() - 4, &value, 4);
  const SafetensorsFile file(folder.write("model.safetensors", content));
  ASSERT_EQ(file.entries().size(), 2u);
  const auto bytes = file.bytes(file.entries()[1]);
  ASSERT_EQ(bytes.size(), 4u);
  EXPECT_EQ(std::memcmp(bytes.data(), &value, 4), 0);
}

TEST(Safetensors, RefusesWhatIsNotAFile) {
  const test::TemporaryFolder folder;
  EXPECT_THROW(SafetensorsFile(folder.path() / "none"), InputError);
  EXPECT_THROW(SafetensorsFile{folder.path()}, InputError);
  EXPECT_THROW(SafetensorsFile(folder.write("empty", "")), InputError);
}

}  // namespace
}  // namespace pagelab
