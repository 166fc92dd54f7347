#include "models/device_description.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "core/config.h"
#include "core/error.h"
#include "tests/models/plain_device.h"
#include "tests/support/source_dir.h"

namespace pagelab {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

DeviceDescription parse(const std::string& text) {
  return resolve_device_description(parse_config(text, "dir/device.toml"));
}

std::string example() {
  DeviceDescription device = test::free_device();
  device.gemm.compute = {{1, 64, 512}, {0.25, 0.5, 0.75}};
  device.swap_out = {.copy_s = 1.9e-6, .bandwidth = 1.25e10};
  device.step = {.fixed_s = 1e-3, .token_s = 2e-7};
  return device_description_toml(device);
}

/// The example with one line replaced.
std::string with(const std::string& key, const std::string& line) {
  std::string text = example();
  const std::size_t begin = text.find("\n" + key + " = ") + 1;
  return text.replace(begin, text.find('\n', begin) - begin, line);
}

auto fails_with(const std::string& text) {
  return ThrowsMessage<InputError>(HasSubstr(text));
}

TEST(Curve, IsLinearInTheLogarithmAndFlatBeyondItsEnds) {
  const Curve curve{{1, 10, 1000}, {2, 4, 0}};
  EXPECT_DOUBLE_EQ(curve.at(0.5), 2);
  EXPECT_DOUBLE_EQ(curve.at(1), 2);
  EXPECT_DOUBLE_EQ(curve.at(10), 4);
  EXPECT_NEAR(curve.at(std::sqrt(10)), 3, 1e-12);
  EXPECT_NEAR(curve.at(100), 2, 1e-12);
  EXPECT_DOUBLE_EQ(curve.at(1000), 0);
  EXPECT_DOUBLE_EQ(curve.at(1e9), 0);
  EXPECT_DOUBLE_EQ((Curve{{5}, {7}}.at(1)), 7);
}

TEST(DeviceDescription, ReadsWhatItWrites) {
  const DeviceDescription device = parse(example());
  EXPECT_EQ(device.name, "free");
  EXPECT_EQ(device.gemm.compute.x, (RealList{1, 64, 512}));
  EXPECT_EQ(device.gemm.compute.y, (RealList{0.25, 0.5, 0.75}));
  EXPECT_EQ(device.decode_attention.block_factor.x, (RealList{4, 16}));
  EXPECT_EQ(device.swap_out.copy_s, 1.9e-6);
  EXPECT_EQ(device.swap_in.copy_s, 0);
  EXPECT_EQ(device.all_reduce.gpus, (RealList{2, 4}));
  EXPECT_EQ(device.step.token_s, 2e-7);
  EXPECT_EQ(device_description_toml(device), example());
}

TEST(DeviceDescription, MayStandForADeviceThatIsAlone) {
  DeviceDescription alone = test::free_device();
  alone.all_reduce = {};
  const std::string text = device_description_toml(alone);
  EXPECT_THAT(text, testing::Not(HasSubstr("all_reduce")));
  EXPECT_TRUE(parse(text).all_reduce.gpus.empty());
}

TEST(DeviceDescription, NamesTheLineOfWhatIsWrong) {
  EXPECT_THAT([] { parse(with("overlap", "overlap = 0.5")); },
              fails_with("dir/device.toml:7: key 'gemm.overlap' must be a real number, at "
                         "least 1 and at most 1000; found a real number (0.5)"));
  EXPECT_THAT([] { parse(with("overlap", "overlapp = 2")); },
              fails_with("dir/device.toml:7: key 'gemm.overlapp' is unknown"));
  EXPECT_THAT([] { parse(with("compute_rows", "")); }, fails_with("key 'gemm.compute_rows' is missing"));
  EXPECT_THAT([] { parse(with("memory_gib", "memory_gib = -1")); }, fails_with("key 'memory_gib' must be"));
}

TEST(DeviceDescription, RefusesListsThatMakeNoCurve) {
  EXPECT_THAT([] { parse(with("compute_rows", "compute_rows = [1, 64]")); },
              fails_with("key 'gemm.compute_efficiency' has 3 numbers; 'compute_rows' has 2"));
  EXPECT_THAT([] { parse(with("compute_rows", "compute_rows = [1, 64, 64]")); },
              fails_with("key 'gemm.compute_rows' must grow from number to number; 64 does not after 64"));
  EXPECT_THAT([] { parse(with("compute_rows", "compute_rows = []")); },
              fails_with("key 'gemm.compute_rows' must have at least one number"));
  EXPECT_THAT([] { parse(with("gpus", "gpus = [2]")); },
              fails_with("key 'all_reduce.latency_s' has 2 numbers; 'gpus' has 1"));
}

TEST(DeviceDescription, ShippedOnesCanBeRead) {
  const std::filesystem::path folder = test::source_dir() / "experiments/devices";
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    EXPECT_EQ(read_device_description(entry.path()).name, entry.path().stem().string());
  }
}

}  // namespace
}  // namespace pagelab
