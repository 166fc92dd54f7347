// Layer norm and RMS norm against the reference in double, on every SIMD target.
#include "kernels/cpu/norm.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <functional>
#include <random>
#include <vector>

#include "kernels/reference/norm.h"
#include "tests/kernels/simd_targets.h"

namespace pagelab::kernels::cpu {
namespace {

struct Rows {
  int rows;
  int cols;
  std::vector<float> x, gamma, beta, out;

  Rows(int rows_in, int cols_in, float offset) : rows(rows_in), cols(cols_in) {
    std::mt19937 random(static_cast<unsigned>(rows * 1000 + cols));
    std::normal_distribution<float> normal;
    const auto fill = [&](std::vector<float>& values, int count, float shift) {
      values.resize(static_cast<std::size_t>(count));
      for (float& value : values) {
        value = normal(random) + shift;
      }
    };
    fill(x, rows * cols, offset);
    fill(gamma, cols, 1);
    fill(beta, cols, 0);
    out.resize(x.size());
  }

  Tensor input() { return {x.data(), rows, cols}; }
  Tensor output() { return {out.data(), rows, cols}; }
  std::span<const float> row(int index) const {
    return std::span(x).subspan(static_cast<std::size_t>(index) * cols, static_cast<std::size_t>(cols));
  }

  /// The largest error against `expected`, which computes one row.
  double error(const std::function<std::vector<double>(std::span<const float>)>& expected) const {
    double largest = 0;
    for (int r = 0; r < rows; ++r) {
      const std::vector<double> exact = expected(row(r));
      for (int c = 0; c < cols; ++c) {
        largest = std::max(largest, std::abs(out[static_cast<std::size_t>(r) * cols + c] - exact[c]));
      }
    }
    return largest;
  }
};

RC_GTEST_PROP(Norm, LayerNormAgreesWithTheReferenceOnEverySimdTarget, ()) {
  Rows test(*rc::gen::inRange(1, 9), *rc::gen::oneOf(rc::gen::inRange(1, 70), rc::gen::inRange(1, 1500)),
            0.5f);
  ThreadPool pool(2);
  for_each_simd_target([&] {
    layer_norm(pool, test.input(), test.gamma.data(), test.beta.data(), 1e-5f, test.output());
    // A row of two equal values divides by sqrt(epsilon): rounding of the mean grows by 300.
    const double tolerance = test.cols < 16 ? 3e-4 : 1e-5;
    RC_ASSERT(test.error([&](auto row) { return reference::layer_norm(row, test.gamma, test.beta, 1e-5); }) <
              tolerance);
  });
}

RC_GTEST_PROP(Norm, RmsNormAgreesWithTheReferenceOnEverySimdTarget, ()) {
  Rows test(*rc::gen::inRange(1, 9), *rc::gen::oneOf(rc::gen::inRange(1, 70), rc::gen::inRange(1, 1500)), 0);
  ThreadPool pool(2);
  for_each_simd_target([&] {
    rms_norm(pool, test.input(), test.gamma.data(), 1e-6f, test.output());
    RC_ASSERT(test.error([&](auto row) { return reference::rms_norm(row, test.gamma, 1e-6); }) < 1e-5);
  });
}

TEST(Norm, LayerNormKeepsItsAccuracyWhenTheMeanIsLarge) {
  Rows test(3, 768, 100.0f);
  ThreadPool pool(1);
  for_each_simd_target([&] {
    layer_norm(pool, test.input(), test.gamma.data(), test.beta.data(), 1e-5f, test.output());
    EXPECT_LT(test.error([&](auto row) { return reference::layer_norm(row, test.gamma, test.beta, 1e-5); }),
              2e-4);
  });
}

TEST(Norm, ARowIsTheSameToTheBitAloneAndInABatchAndInPlace) {
  Rows batch(37, 771, 0);
  ThreadPool pool(2);
  layer_norm(pool, batch.input(), batch.gamma.data(), batch.beta.data(), 1e-5f, batch.output());
  for (int r = 0; r < batch.rows; ++r) {
    std::vector<float> alone(batch.row(r).begin(), batch.row(r).end());
    const Tensor tensor{alone.data(), 1, batch.cols};
    layer_norm(pool, tensor, batch.gamma.data(), batch.beta.data(), 1e-5f, tensor);
    EXPECT_TRUE(std::equal(alone.begin(), alone.end(), batch.output().row(r))) << r;
  }
}

}  // namespace
}  // namespace pagelab::kernels::cpu
