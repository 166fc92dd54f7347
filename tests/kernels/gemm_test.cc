// The matrix product against the reference in double, on every SIMD target, and its promise that a row's
// result does not depend on what is computed beside it.
#include "kernels/cpu/gemm.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/cpu/float_convert.h"
#include "kernels/reference/linear.h"
#include "tests/kernels/simd_targets.h"

namespace pagelab::kernels::cpu {
namespace {

std::vector<float> random_values(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> value(-1.0f, 1.0f);
  std::vector<float> values(count);
  for (float& v : values) {
    v = value(random);
  }
  return values;
}

std::vector<float> magnitudes(std::span<const float> values) {
  std::vector<float> result(values.begin(), values.end());
  for (float& v : result) {
    v = std::abs(v);
  }
  return result;
}

/// What `value` becomes when stored as `dtype`.
float stored_as(float value, DType dtype) {
  return dtype == DType::f32    ? value
         : dtype == DType::bf16 ? bf16_to_f32(f32_to_bf16(value))
                                : f16_to_f32(f32_to_f16(value));
}

struct Problem {
  int m = 1;
  int n = 1;
  int k = 1;
  DType dtype = DType::f32;
  Activation activation = Activation::none;
  bool bias = false;
  bool accumulate = false;
  int threads = 1;
};

std::ostream& operator<<(std::ostream& out, const Problem& p) {
  return out << "m " << p.m << " n " << p.n << " k " << p.k << " " << name_of(p.dtype) << " activation "
             << static_cast<int>(p.activation) << " bias " << p.bias << " accumulate " << p.accumulate
             << " threads " << p.threads;
}

/// The inputs of a problem and its product.
struct Case {
  Problem problem;
  std::vector<float> x, w, bias, before, out;

  explicit Case(const Problem& p, unsigned seed = 1)
      : problem(p),
        x(random_values(static_cast<std::size_t>(p.m) * p.k, seed)),
        w(random_values(static_cast<std::size_t>(p.n) * p.k, seed + 1)),
        bias(random_values(static_cast<std::size_t>(p.n), seed + 2)),
        before(random_values(static_cast<std::size_t>(p.m) * p.n, seed + 3)) {
    for (float& value : w) {
      value = stored_as(value, p.dtype);
    }
  }

  void run() {
    ThreadPool pool(problem.threads);
    const HostTensor part{w.data(), DType::f32, problem.n, problem.k};
    const PackedMatrix packed(pool, {&part, 1}, problem.dtype);
    out = before;
    Gemm gemm(pool);
    gemm.run({x.data(), problem.m, problem.k}, packed,
             {problem.bias ? bias.data() : nullptr, problem.activation, problem.accumulate},
             {out.data(), problem.m, problem.n});
  }

  /// The largest error in units of sqrt(k) roundings of the sum of absolute products: what a dot product of
  /// length k keeps below with near certainty (Higham and Mary, "A new approach to probabilistic rounding
  /// error analysis", SIAM J. Sci. Comput. 2019, theorem 3.1), plus a few roundings of the epilogue. A sound
  /// kernel stays below 1.
  double error() const {
    const auto bias_or_none = problem.bias ? std::span<const float>(bias) : std::span<const float>();
    const std::vector<double> exact =
        reference::linear(x, w, bias_or_none, problem.m, problem.n, problem.k, problem.activation);
    const std::vector<double> size = reference::linear(magnitudes(x), magnitudes(w), magnitudes(bias_or_none),
                                                       problem.m, problem.n, problem.k, Activation::none);
    double largest = 0;
    for (std::size_t i = 0; i < out.size(); ++i) {
      const double expected = exact[i] + (problem.accumulate ? before[i] : 0.0f);
      const double allowed = (8 + std::sqrt(problem.k) * size[i]) * 0x1p-24;
      largest = std::max(largest, std::abs(out[i] - expected) / allowed);
    }
    return largest;
  }
};

rc::Gen<Problem> any_problem() {
  return rc::gen::exec([] {
    Problem p;
    p.m = *rc::gen::oneOf(rc::gen::inRange(1, 16), rc::gen::inRange(1, 70));
    p.n = *rc::gen::oneOf(rc::gen::inRange(1, 40), rc::gen::inRange(1, 150));
    p.k = *rc::gen::oneOf(rc::gen::inRange(1, 20), rc::gen::inRange(1, 700));
    p.dtype = *rc::gen::element(DType::f32, DType::bf16, DType::f16);
    p.activation =
        *rc::gen::element(Activation::none, Activation::relu, Activation::gelu, Activation::gelu_tanh);
    p.bias = *rc::gen::arbitrary<bool>();
    p.accumulate = p.activation == Activation::none && *rc::gen::arbitrary<bool>();
    p.threads = *rc::gen::inRange(1, 3);
    return p;
  });
}

RC_GTEST_PROP(Gemm, AgreesWithTheReferenceOnEverySimdTarget, ()) {
  Case test(*any_problem());
  for_each_simd_target([&] {
    test.run();
    RC_ASSERT(test.error() < 1);
  });
}

TEST(Gemm, ManyRowsAgreeWithTheReference) {
  for (const int m : {191, 192, 193, 400}) {
    Case test({.m = m, .n = 97, .k = 300, .dtype = DType::bf16, .threads = 2});
    test.run();
    EXPECT_LT(test.error(), 1) << test.problem;
  }
}

/// Row r of the product of the first m rows is row r of the product of that row alone, to the bit.
void expect_rows_independent_of_the_batch(DType dtype, int largest) {
  constexpr int kN = 70;
  constexpr int kK = 531;
  Case inputs({.m = largest, .n = kN, .k = kK, .dtype = dtype, .bias = true});
  const HostTensor part{inputs.w.data(), DType::f32, kN, kK};
  ThreadPool one(1);
  const PackedMatrix packed(one, {&part, 1}, dtype);
  const GemmEpilogue epilogue{inputs.bias.data(), Activation::gelu, false};
  std::vector<float> alone(inputs.before.size());
  Gemm gemm_of_one(one);
  for (int row = 0; row < largest; ++row) {
    gemm_of_one.run({inputs.x.data() + row * kK, 1, kK}, packed, epilogue, {alone.data() + row * kN, 1, kN});
  }
  for (const int threads : {1, 2}) {
    ThreadPool pool(threads);
    Gemm gemm(pool);
    for (int m = 1; m <= largest; ++m) {
      std::vector<float> out(static_cast<std::size_t>(m) * kN);
      gemm.run({inputs.x.data(), m, kK}, packed, epilogue, {out.data(), m, kN});
      ASSERT_EQ(0, std::memcmp(out.data(), alone.data(), out.size() * sizeof(float)))
          << name_of(dtype) << ", " << m << " rows, " << threads << " threads";
    }
  }
}

TEST(Gemm, ARowIsTheSameToTheBitAloneAndInEveryBatch) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    for_each_simd_target([&] { expect_rows_independent_of_the_batch(dtype, 130); });
  }
}

TEST(Gemm, ResultsDoNotDependOnTheNumberOfThreads) {
  for (const int m : {1, 5, 33, 250}) {
    Case one({.m = m, .n = 300, .k = 700, .dtype = DType::bf16, .threads = 1});
    Case two({.m = m, .n = 300, .k = 700, .dtype = DType::bf16, .threads = 3});
    one.run();
    two.run();
    EXPECT_EQ(one.out, two.out) << m;
  }
}

TEST(Gemm, ZeroRowsDoNothing) {
  ThreadPool pool(2);
  const std::vector<float> w(12, 1.0f);
  const HostTensor part{w.data(), DType::f32, 4, 3};
  const PackedMatrix packed(pool, {&part, 1}, DType::f32);
  Gemm gemm(pool);
  gemm.run({nullptr, 0, 3}, packed, {}, {nullptr, 0, 4});
}

TEST(PackedMatrix, StacksPartsOfAnyTypeAndOrientation) {
  ThreadPool pool(2);
  constexpr int kK = 5;
  const std::vector<float> first = random_values(7 * kK, 1);
  std::vector<std::uint16_t> second(40 * kK);  // bf16 [40, 5]
  std::vector<std::uint16_t> third(kK * 3);    // f16, stored [5, 3]
  const std::vector<float> values = random_values(40 * kK, 2);
  for (std::size_t i = 0; i < second.size(); ++i) {
    second[i] = f32_to_bf16(values[i]);
  }
  for (std::size_t i = 0; i < third.size(); ++i) {
    third[i] = f32_to_f16(values[i]);
  }
  const std::vector<HostTensor> parts = {{first.data(), DType::f32, 7, kK},
                                         {second.data(), DType::bf16, 40, kK},
                                         {third.data(), DType::f16, 3, kK, true}};
  for (const DType storage : {DType::f32, DType::bf16, DType::f16}) {
    const PackedMatrix packed(pool, parts, storage);
    ASSERT_EQ(packed.rows(), 50);
    std::vector<float> row(kK);
    for (int r = 0; r < 50; ++r) {
      packed.read_row(r, row.data(), false);
      for (int k = 0; k < kK; ++k) {
        const float source = r < 7    ? first[r * kK + k]
                             : r < 47 ? bf16_to_f32(second[(r - 7) * kK + k])
                                      : f16_to_f32(third[k * 3 + (r - 47)]);
        EXPECT_EQ(row[k], stored_as(source, storage)) << r << " " << k;
      }
    }
  }
}

TEST(PackedMatrix, PartsOfUnequalWidthAreRefused) {
  ThreadPool pool(1);
  const std::vector<float> w(12);
  const std::vector<HostTensor> parts = {{w.data(), DType::f32, 2, 3}, {w.data(), DType::f32, 2, 4}};
  EXPECT_THROW(PackedMatrix(pool, parts, DType::f32), std::invalid_argument);
}

TEST(FloatConvert, EveryHalfSurvivesTheWayToF32AndBack) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float wide = f16_to_f32(half);
    if (!std::isnan(wide)) {
      ASSERT_EQ(f32_to_f16(wide), half) << bits;
    } else {
      ASSERT_TRUE(std::isnan(f16_to_f32(f32_to_f16(wide))));
    }
    const float brain = bf16_to_f32(half);
    if (!std::isnan(brain)) {
      ASSERT_EQ(f32_to_bf16(brain), half) << bits;
    }
  }
}

TEST(FloatConvert, RoundsToNearestTiesToEven) {
  EXPECT_EQ(f32_to_f16(1.0f + 0x1p-11f), f32_to_f16(1.0f));
  EXPECT_EQ(f32_to_f16(1.0f + 3 * 0x1p-11f), f32_to_f16(1.0f + 0x1p-9f));
  EXPECT_EQ(f32_to_f16(65519.0f), 0x7bff);
  EXPECT_EQ(f32_to_f16(65520.0f), 0x7c00);
  EXPECT_EQ(f32_to_f16(0x1p-25f), 0);
  EXPECT_EQ(f32_to_f16(-0x1.8p-25f), 0x8001);
  EXPECT_EQ(f32_to_bf16(1.0f + 0x1p-8f), f32_to_bf16(1.0f));
  EXPECT_EQ(f32_to_bf16(1.0f + 3 * 0x1p-8f), f32_to_bf16(1.0f + 0x1p-6f));
}

}  // namespace
}  // namespace pagelab::kernels::cpu
