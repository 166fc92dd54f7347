// The rotary embedding against the reference on every SIMD target.
#include "kernels/cpu/rotary.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "kernels/reference/rotary.h"
#include "tests/kernels/simd_targets.h"

namespace pagelab::kernels {
namespace {

std::vector<float> frequencies(std::int32_t head_size) {
  std::vector<float> out;
  for (std::int32_t i = 0; i < head_size; i += 2) {
    out.push_back(static_cast<float>(std::pow(10000.0, -static_cast<double>(i) / head_size)));
  }
  return out;
}

RC_GTEST_PROP(Rotary, MatchesTheReferenceOnEveryTarget, ()) {
  const auto head_size = *rc::gen::element(64, 72, 80, 96, 128, 256);
  const auto heads = *rc::gen::inRange(1, 5);
  const auto rest = *rc::gen::inRange(0, 3) * head_size;
  const auto positions = *rc::gen::container<std::vector<std::int32_t>>(
      rc::gen::oneOf(rc::gen::inRange(0, 2048), rc::gen::inRange(0, 2000000)));
  std::minstd_rand random(*rc::gen::inRange(1u, 1000u));
  std::uniform_real_distribution<float> uniform(-2, 2);
  const std::int32_t columns = heads * head_size + rest;
  std::vector<float> input(positions.size() * static_cast<std::size_t>(columns));
  for (float& value : input) {
    value = uniform(random);
  }
  const std::vector<float> inv_freq = frequencies(head_size);
  for_each_simd_target([&] {
    std::vector<float> data = input;
    const Tensor x{data.data(), static_cast<std::int32_t>(positions.size()), columns};
    cpu::ThreadPool pool(2);
    cpu::rotary(pool, x, heads, head_size, positions, {inv_freq});
    for (std::int32_t row = 0; row < x.rows; ++row) {
      const float* before = input.data() + std::ptrdiff_t{row} * columns;
      for (std::int32_t head = 0; head < heads; ++head) {
        const std::vector<double> expected =
            reference::rotary({before + head * head_size, static_cast<std::size_t>(head_size)},
                              positions[static_cast<std::size_t>(row)], inv_freq);
        for (std::int32_t d = 0; d < head_size; ++d) {
          RC_ASSERT(std::abs(x.row(row)[head * head_size + d] - expected[static_cast<std::size_t>(d)]) <
                    1e-6);
        }
      }
      for (std::int32_t i = heads * head_size; i < columns; ++i) {
        RC_ASSERT(x.row(row)[i] == before[i]);
      }
    }
  });
}

TEST(Rotary, PositionZeroChangesNothing) {
  std::vector<float> data(128);
  for (std::size_t i = 0; i < data.size(); ++i) {
    data[i] = static_cast<float>(i) - 60.5f;
  }
  const std::vector<float> before = data;
  const std::vector<float> inv_freq = frequencies(64);
  const std::vector<std::int32_t> positions = {0};
  for_each_simd_target([&] {
    cpu::ThreadPool pool(1);
    cpu::rotary(pool, {data.data(), 1, 128}, 2, 64, positions, {inv_freq});
    EXPECT_EQ(data, before);
  });
}

}  // namespace
}  // namespace pagelab::kernels
