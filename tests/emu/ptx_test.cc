// The PTX machine on objects made by nvcc: host code, fat binary, inline assembly.
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <random>
#include <string>

#include "kernels/emu/check.h"
#include "kernels/emu/float16.h"
#include "tests/cuda/device_array.h"
#include "tests/emu/ptx_kernels.h"

namespace {

namespace cuda = pagelab::testing::cuda;
namespace emu = pagelab::emu;
using cuda::Transposed;
using pagelab::testing::DeviceArray;

std::vector<float> uniform(std::size_t count, float low, float high, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> draw(low, high);
  std::vector<float> values(count);
  for (float& value : values) {
    value = draw(random);
  }
  return values;
}

TEST(PtxObjects, ParametersOfAllKindsArrive) {
  const cuda::MixedParameters parameters{-3, 0.25, {10, -20, 30, -40, 2000000000}, 65535};
  const DeviceArray<double> out(32);
  cuda::mixed_parameters(-100, parameters, 0.5f, out.data(), 32);
  const std::vector<double> results = out.download();
  for (int i = 0; i < 32; ++i) {
    EXPECT_EQ(results[static_cast<std::size_t>(i)], -3 + 0.25 * parameters.table[i % 5] + 65535 - 100 + 0.5)
        << i;
  }
}

TEST(PtxObjects, BlocksSumThroughShufflesAndSharedMemoryUnderAnySchedule) {
  const std::vector<float> in = uniform(5 * 256, -1, 1, 1);
  const DeviceArray<float> input(in);
  const emu::Checker checker;
  pagelab::testing::for_each_schedule([&] {
    const DeviceArray<float> out(5);
    cuda::block_sums(input.data(), out.data(), 5);
    const std::vector<float> sums = out.download();
    for (std::size_t block = 0; block < 5; ++block) {
      const double exact = std::accumulate(in.begin() + static_cast<long>(block) * 256,
                                           in.begin() + static_cast<long>(block + 1) * 256, 0.0);
      EXPECT_NEAR(sums[block], exact, 1e-4);
    }
  });
}

TEST(PtxObjects, ARaceIsReportedWithItsLinesInTheSource) {
  const DeviceArray<float> input(uniform(256, -1, 1, 1));
  const DeviceArray<float> out(1);
  const emu::Checker checker;
  std::string report;
  try {
    cuda::racy_block_sums(input.data(), out.data(), 1);
    cudaDeviceSynchronize();
  } catch (const emu::KernelError& error) {
    EXPECT_EQ(error.kind(), emu::KernelError::Kind::race);
    report = error.what();
  }
  const auto lines = cuda::racy_lines();
  EXPECT_NE(report.find("ptx_kernels.cu:" + std::to_string(lines.write)), std::string::npos) << report;
  EXPECT_NE(report.find("ptx_kernels.cu:" + std::to_string(lines.read)), std::string::npos) << report;
}

struct TileCase {
  std::uint16_t (*from_float)(float);
  float (*to_float)(std::uint16_t);
  void (*product)(Transposed, const std::uint16_t*, const std::uint16_t*, float*);
};

class PtxTile : public ::testing::TestWithParam<TileCase> {
 protected:
  // The largest difference from the exact product of the rounded values.
  double error_of(Transposed transposed) {
    const auto rounded = [](const std::vector<float>& values) {
      std::vector<std::uint16_t> bits;
      for (const float value : values) {
        bits.push_back(GetParam().from_float(value));
      }
      return bits;
    };
    const auto a = rounded(uniform(16 * 16, -2, 2, 3));
    const auto b = rounded(uniform(16 * 8, -2, 2, 4));
    const DeviceArray<std::uint16_t> device_a(a), device_b(b);
    const DeviceArray<float> c(16 * 8);
    GetParam().product(transposed, device_a.data(), device_b.data(), c.data());
    const std::vector<float> results = c.download();
    double largest = 0;
    for (std::size_t row = 0; row < 16; ++row) {
      for (std::size_t col = 0; col < 8; ++col) {
        double exact = 0;
        for (std::size_t k = 0; k < 16; ++k) {
          exact +=
              static_cast<double>(GetParam().to_float(a[row * 16 + k])) * GetParam().to_float(b[k * 8 + col]);
        }
        largest = std::max(largest, std::fabs(results[row * 8 + col] - exact));
      }
    }
    return largest;
  }
};

TEST_P(PtxTile, CopiedLoadedAndMultipliedItIsTheProduct) {
  const emu::Checker checker;
  EXPECT_LT(error_of(Transposed::as_wanted), 1e-5);
}
TEST_P(PtxTile, WithoutTheTranspositionItIsNot) {
  EXPECT_GT(error_of(Transposed::wrongly), 0.5);
}

INSTANTIATE_TEST_SUITE_P(
    Types, PtxTile,
    ::testing::Values(TileCase{emu::float_to_f16, emu::f16_to_float, cuda::tile_product_f16},
                      TileCase{emu::float_to_bf16, emu::bf16_to_float, cuda::tile_product_bf16}));

TEST(PtxObjects, FunctionsOfTheMathLibraryAreAsAccurateAsDocumented) {
  std::vector<float> in = uniform(500, -10, 10, 5);
  for (const float large : {1e5f, -3e7f, 1e30f}) {
    in.push_back(large);
  }
  const DeviceArray<float> input(in);
  const DeviceArray<float> out(8 * in.size());
  cuda::functions(input.data(), out.data(), static_cast<int>(in.size()));
  const std::vector<float> results = out.download();
  for (std::size_t i = 0; i < in.size(); ++i) {
    const double x = in[i];
    const double exact[] = {
        std::exp(x), std::log(std::fabs(x)),     std::sin(x), std::cos(x), std::tanh(x), std::erf(x),
        x / 3,       std::pow(std::fabs(x), 1.5)};
    for (std::size_t f = 0; f < 8; ++f) {
      const float value = results[8 * i + f];
      if (std::fabs(exact[f]) > 3.4e38) {
        EXPECT_TRUE(std::isinf(value));
      } else {
        EXPECT_NEAR(value, exact[f], 1e-6 * std::fabs(exact[f]) + 2e-7) << "function " << f << " of " << x;
      }
    }
  }
}

TEST(PtxObjects, FunctionsThatNvccDoesNotInlineAreCalled) {
  const std::vector<double> in = {0.0, 1.0, -2.5, 100.0, 1e9, -1e15, 1e300};
  const DeviceArray<double> input(in);
  const DeviceArray<double> out(in.size());
  cuda::double_sine(input.data(), out.data(), static_cast<int>(in.size()));
  const std::vector<double> results = out.download();
  for (std::size_t i = 0; i < in.size(); ++i) {
    EXPECT_NEAR(results[i], std::sin(in[i]), 4e-16) << in[i];
  }
}

TEST(PtxObjects, IntegerArithmeticIsTheHosts) {
  std::mt19937 random(7);
  std::vector<std::int32_t> a = {0, -1, 1, 2147483647, -2147483647 - 1}, b = {0, -1, 31, 2147483647, 5};
  for (int i = 0; i < 300; ++i) {
    a.push_back(static_cast<std::int32_t>(random()) >> (i % 32));
    b.push_back(static_cast<std::int32_t>(random()) >> (i % 31));
  }
  const DeviceArray<std::int32_t> device_a(a), device_b(b);
  const DeviceArray<std::int64_t> out(8 * a.size());
  cuda::integer_operations(device_a.data(), device_b.data(), out.data(), static_cast<int>(a.size()));
  const auto results = out.download();
  for (std::size_t i = 0; i < a.size(); ++i) {
    for (int op = 0; op < 8; ++op) {
      EXPECT_EQ(results[8 * i + static_cast<std::size_t>(op)], cuda::integer_operation(op, a[i], b[i]))
          << op << " of " << a[i] << ", " << b[i];
    }
  }
}

TEST(PtxObjects, AtomicsOfManyBlocksAddUpUnderTheChecks) {
  std::vector<int> in(300);
  std::iota(in.begin(), in.end(), 0);
  const emu::Checker checker;
  const DeviceArray<int> input(in), total(std::vector<int>{0}), largest(std::vector<int>{-1});
  const DeviceArray<unsigned> histogram(std::vector<unsigned>(16, 0));
  cuda::atomics(input.data(), 300, total.data(), largest.data(), histogram.data());
  EXPECT_EQ(total.download()[0], 300 * 299 / 2);
  EXPECT_EQ(largest.download()[0], 299);
  const auto counts = histogram.download();
  EXPECT_EQ(counts[3], 19u);
  EXPECT_EQ(counts[15], 18u);
}

}  // namespace
