#include "core/random.h"

#include <gtest/gtest.h>

#include <cmath>

namespace pagelab {
namespace {

TEST(Random, PhiloxEqualsThePublishedVectors) {  // Random123's known answers for philox4x32-10
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}),
            (std::array<std::uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (std::array<std::uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
}

TEST(Random, StreamsOfDifferentNamesDiffer) {
  RandomStream a(1, "arrivals"), b(1, "lengths"), c(2, "arrivals"), d(1, "arrivals");
  const auto first = a.bits();
  EXPECT_NE(first, b.bits());
  EXPECT_NE(first, c.bits());
  EXPECT_EQ(first, d.bits());
}

template <class Draw>
std::pair<double, double> moments(Draw draw) {
  double sum = 0, squares = 0;
  constexpr int count = 200000;
  for (int i = 0; i < count; ++i) {
    const double x = draw();
    sum += x;
    squares += x * x;
  }
  const double mean = sum / count;
  return {mean, squares / count - mean * mean};
}

TEST(Random, DistributionsHaveTheirMoments) {
  RandomStream stream(7, "test");
  auto [mean, variance] = moments([&] { return stream.uniform(); });
  EXPECT_NEAR(mean, 0.5, 0.005);
  EXPECT_NEAR(variance, 1.0 / 12, 0.002);
  std::tie(mean, variance) = moments([&] { return stream.exponential(4); });
  EXPECT_NEAR(mean, 0.25, 0.005);
  EXPECT_NEAR(variance, 1.0 / 16, 0.003);
  std::tie(mean, variance) = moments([&] { return stream.normal(); });
  EXPECT_NEAR(mean, 0, 0.01);
  EXPECT_NEAR(variance, 1, 0.02);
  for (const double shape : {0.3, 1.0, 4.0}) {
    std::tie(mean, variance) = moments([&] { return stream.gamma(shape, 2); });
    EXPECT_NEAR(mean, shape * 2, 0.05 * shape + 0.01);
    EXPECT_NEAR(variance, shape * 4, 0.2 * shape + 0.05);
  }
}

TEST(Random, BelowCoversItsRangeEvenly) {
  RandomStream stream(3, "test");
  std::array<int, 7> counts{};
  for (int i = 0; i < 70000; ++i) {
    ++counts[stream.below(7)];
  }
  for (const int count : counts) {
    EXPECT_NEAR(count, 10000, 400);
  }
}

}  // namespace
}  // namespace pagelab
