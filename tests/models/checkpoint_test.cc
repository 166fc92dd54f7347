#include "models/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/models/model_files.h"

namespace pagelab {
namespace {

using ::testing::HasSubstr;

constexpr const char* kIndex = "model.safetensors.index.json";

std::string error_of(const test::TemporaryFolder& folder) {
  try {
    const Checkpoint checkpoint(folder.path());
  } catch (const InputError& error) {
    return error.what();
  }
  return "accepted";
}

/// A folder with the tensor a in one.safetensors, b in two.safetensors, and the index given.
std::string error_of_index(const std::string& index) {
  const test::TemporaryFolder folder;
  folder.write("one.safetensors", test::safetensors_of({{"a", {2}}}));
  folder.write("two.safetensors", test::safetensors_of({{"b", {2}}}));
  folder.write(kIndex, index);
  return error_of(folder);
}

TEST(Checkpoint, FindsTensorsInAllShards) {
  const test::TemporaryFolder folder;
  folder.write("one.safetensors", test::safetensors_of({{"a", {2}}}));
  folder.write("two.safetensors", test::safetensors_of({{"b", {3}}}));
  folder.write(
      kIndex, R"({"metadata":{"total_size":20},"weight_map":{"a":"one.safetensors","b":"two.safetensors"}})");
  const Checkpoint checkpoint(folder.path());
  EXPECT_EQ(checkpoint.tensors().size(), 2u);
  EXPECT_EQ(checkpoint.tensors().at("b").entry->shape, std::vector<std::int64_t>{3});
}

TEST(Checkpoint, RefusesAFolderWithoutWeights) {
  EXPECT_THAT(error_of(test::TemporaryFolder()), HasSubstr("holds neither model.safetensors nor"));
}

TEST(Checkpoint, RefusesAnIndexThatIsNotOne) {
  EXPECT_THAT(error_of_index("{"), HasSubstr("not valid JSON"));
  EXPECT_THAT(error_of_index("[]"), HasSubstr("not a JSON object"));
  EXPECT_THAT(error_of_index("{}"), HasSubstr("weight_map"));
  EXPECT_THAT(error_of_index(R"({"weight_map":{"a":7}})"), HasSubstr("'a': not the name of a file"));
}

TEST(Checkpoint, RefusesShardsOutsideOfTheFolder) {
  for (const char* const path : {"../one.safetensors", "/etc/passwd", "sub/one.safetensors", "..", ""}) {
    EXPECT_THAT(error_of_index(std::string(R"({"weight_map":{"a":")") + path + "\"}}"),
                HasSubstr("not the name of a file in the same folder"));
  }
}

TEST(Checkpoint, RefusesAMissingShard) {
  EXPECT_THAT(error_of_index(R"({"weight_map":{"a":"three.safetensors"}})"),
              HasSubstr("names the shard three.safetensors, which is missing"));
}

TEST(Checkpoint, RefusesAnIndexAndShardsThatDisagree) {
  EXPECT_THAT(error_of_index(R"({"weight_map":{"a":"one.safetensors","b":"one.safetensors"}})"),
              HasSubstr("tensor 'b' is not in one.safetensors"));
  EXPECT_THAT(error_of_index(R"({"weight_map":{"c":"one.safetensors"}})"),
              HasSubstr("tensor 'a' is in one.safetensors, which the index does not say"));
  EXPECT_THAT(error_of_index(R"({"weight_map":{"a":"two.safetensors","b":"one.safetensors"}})"),
              HasSubstr("which the index does not say"));
}

TEST(Checkpoint, RefusesATensorInTwoShards) {
  const test::TemporaryFolder folder;
  folder.write("one.safetensors", test::safetensors_of({{"a", {2}}}));
  folder.write("two.safetensors", test::safetensors_of({{"a", {2}}, {"b", {2}}}));
  folder.write(kIndex, R"({"weight_map":{"a":"one.safetensors","b":"two.safetensors"}})");
  EXPECT_THAT(error_of(folder), HasSubstr("tensor 'a' is also in"));
}

}  // namespace
}  // namespace pagelab
