// The activation functions against the reference in double, on every SIMD target. They are reached as models
// reach them: through the product's epilogue (an identity weight) and through silu_mul.
#include "kernels/cpu/activation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "kernels/cpu/gemm.h"
#include "kernels/reference/activation.h"
#include "tests/kernels/simd_targets.h"

namespace pagelab::kernels::cpu {
namespace {

/// Values from far left to far right, dense near zero.
std::vector<float> interesting_values() {
  std::vector<float> values = {0.0f, -0.0f, 1e-30f, -1e-30f, 50.0f, -50.0f, 200.0f, -200.0f, 1e6f, -1e6f};
  for (int i = -12000; i <= 12000; ++i) {
    values.push_back(static_cast<float>(i) * 0.001f);
  }
  return values;
}

std::vector<float> through_the_epilogue(const std::vector<float>& values, Activation activation) {
  ThreadPool pool(1);
  const float one = 1.0f;
  const HostTensor identity{&one, DType::f32, 1, 1};
  const PackedMatrix packed(pool, {&identity, 1}, DType::f32);
  std::vector<float> x = values;
  std::vector<float> out(values.size());
  const auto rows = static_cast<std::int32_t>(values.size());
  Gemm(pool).run({x.data(), rows, 1}, packed, {nullptr, activation, false}, {out.data(), rows, 1});
  return out;
}

/// Within a few roundings of the exact value. In the left tails digits are lost as the exponent grows; what
/// is below 1e-29 may as well be zero.
void expect_close(float actual, double exact, float x) {
  EXPECT_NEAR(actual, exact, 2e-6 * std::abs(exact) * (1 + x * x / 8) + 1e-29) << "at " << x;
}

TEST(Activation, EpiloguesAgreeWithTheReferenceOverTheWholeRange) {
  const std::vector<float> values = interesting_values();
  for (const Activation activation :
       {Activation::none, Activation::relu, Activation::gelu, Activation::gelu_tanh}) {
    for_each_simd_target([&] {
      const std::vector<float> out = through_the_epilogue(values, activation);
      for (std::size_t i = 0; i < values.size(); ++i) {
        expect_close(out[i], reference::activate(values[i], activation), values[i]);
      }
    });
  }
}

TEST(Activation, SiluMulAgreesWithTheReference) {
  ThreadPool pool(2);
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0, 4);
  for (const int width : {1, 7, 16, 33, 2048}) {
    const int rows = 5;
    std::vector<float> x(static_cast<std::size_t>(rows) * 2 * width);
    for (float& value : x) {
      value = normal(random);
    }
    x[0] = -300.0f;
    std::vector<float> out(static_cast<std::size_t>(rows) * width);
    for_each_simd_target([&] {
      silu_mul(pool, {x.data(), rows, 2 * width}, {out.data(), rows, width});
      for (int r = 0; r < rows; ++r) {
        for (int i = 0; i < width; ++i) {
          const float gate = x[static_cast<std::size_t>(r) * 2 * width + i];
          const double exact = reference::silu(gate) * x[static_cast<std::size_t>(r) * 2 * width + width + i];
          EXPECT_NEAR(out[static_cast<std::size_t>(r) * width + i], exact, 2e-6 * std::abs(exact) + 1e-30);
        }
      }
    });
  }
}

}  // namespace
}  // namespace pagelab::kernels::cpu
