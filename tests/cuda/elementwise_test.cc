// The row-by-row operations against the reference in double, whatever the width and alignment, and that a row
// is the same to the bit alone and in a batch.
#include "kernels/cuda/elementwise.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/cpu/float_convert.h"
#include "kernels/reference/activation.h"
#include "kernels/reference/norm.h"
#include "kernels/reference/rotary.h"
#include "tests/cuda/device_array.h"

namespace pagelab::testing {
namespace {

namespace reference = kernels::reference;
using kernels::Activation;
using kernels::DType;
using kernels::Tensor;

/// Rows 0 and 1 often, and widths with and without whole vectors.
rc::Gen<int> rows_gen() {
  return rc::gen::element(0, 1, 1, 2, 3, 5);
}
rc::Gen<int> cols_gen() {
  return rc::gen::oneOf(rc::gen::inRange(1, 70),
                        rc::gen::map(rc::gen::inRange(1, 40), [](int n) { return 8 * n; }),
                        rc::gen::inRange(1, 2300));
}

std::vector<float> normal_numbers(std::size_t count, std::mt19937& random, float width = 1, float mean = 0) {
  std::normal_distribution<float> normal(mean, width);
  std::vector<float> values(count);
  std::generate(values.begin(), values.end(), [&] { return normal(random); });
  return values;
}

struct Shape {
  int rows = *rows_gen();
  int cols = *cols_gen();
  std::mt19937 random{*rc::gen::arbitrary<unsigned>()};

  std::size_t size() const { return static_cast<std::size_t>(rows) * static_cast<std::size_t>(cols); }
  std::vector<float> numbers(float width = 1, float mean = 0) {
    return normal_numbers(size(), random, width, mean);
  }
  std::vector<float> row_numbers(float mean) {
    return normal_numbers(static_cast<std::size_t>(cols), random, 1, mean);
  }
  std::span<const float> row(const std::vector<float>& values, int index) const {
    return std::span(values).subspan(static_cast<std::size_t>(index * cols), static_cast<std::size_t>(cols));
  }
  Tensor tensor(const DeviceArray<float>& values) const { return {values.data(), rows, cols}; }
};

void expect_near(std::span<const float> values, std::span<const double> expected, double tolerance) {
  RC_ASSERT(values.size() == expected.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    RC_ASSERT(std::abs(static_cast<double>(values[i]) - expected[i]) <=
              tolerance * (1 + std::abs(expected[i])));
  }
}

RC_GTEST_PROP(CudaNorm, LayerNormAgreesWithTheReferenceAlsoInPlace, ()) {
  Shape shape;
  const std::vector<float> x = shape.numbers(1, 0.5f);
  const std::vector<float> gamma = shape.row_numbers(1), beta = shape.row_numbers(0);
  const DeviceArray<float> device_gamma(gamma), device_beta(beta), out(x.size());
  const bool in_place = *rc::gen::arbitrary<bool>();
  // A row of few and nearly equal values divides by sqrt(epsilon): rounding of the mean grows by 300.
  const double tolerance = shape.cols < 16 ? 3e-4 : 1e-5;
  for_each_schedule([&] {
    const DeviceArray<float> device_x(x);
    const DeviceArray<float>& target = in_place ? device_x : out;
    cuda::layer_norm(nullptr, shape.tensor(device_x), device_gamma.data(), device_beta.data(), 1e-5f,
                     shape.tensor(target));
    const std::vector<float> result = target.download();
    for (int row = 0; row < shape.rows; ++row) {
      expect_near(shape.row(result, row), reference::layer_norm(shape.row(x, row), gamma, beta, 1e-5),
                  tolerance);
    }
  });
}

RC_GTEST_PROP(CudaNorm, RmsNormAgreesWithTheReferenceWithAndWithoutAResidual, ()) {
  Shape shape;
  const std::vector<float> x = shape.numbers(), residual = shape.numbers(2);
  const std::vector<float> gamma = shape.row_numbers(1);
  const DeviceArray<float> device_gamma(gamma), separate(x.size());
  const bool add = *rc::gen::arbitrary<bool>();
  const bool in_place = *rc::gen::arbitrary<bool>();
  std::vector<float> sum = x;
  for (std::size_t i = 0; add && i < sum.size(); ++i) {
    sum[i] += residual[i];
  }
  for_each_schedule([&] {
    const DeviceArray<float> device_x(x), device_residual(residual);
    const DeviceArray<float>& out = in_place ? device_x : separate;
    if (add) {
      cuda::add_rms_norm(nullptr, shape.tensor(device_x), shape.tensor(device_residual), device_gamma.data(),
                         1e-6f, shape.tensor(out));
      RC_ASSERT(device_residual.download() == sum);
    } else {
      cuda::rms_norm(nullptr, shape.tensor(device_x), device_gamma.data(), 1e-6f, shape.tensor(out));
    }
    const std::vector<float> result = out.download();
    for (int row = 0; row < shape.rows; ++row) {
      expect_near(shape.row(result, row), reference::rms_norm(shape.row(sum, row), gamma, 1e-6), 1e-5);
    }
  });
}

TEST(CudaNorm, LayerNormKeepsItsAccuracyWhenTheMeanIsLarge) {
  std::mt19937 random(3);
  const std::vector<float> x = normal_numbers(768, random, 1, 100), gamma(768, 1.0f), beta(768, 0.0f);
  const DeviceArray<float> device_x(x), device_gamma(gamma), device_beta(beta), out(768);
  cuda::layer_norm(nullptr, {device_x.data(), 1, 768}, device_gamma.data(), device_beta.data(), 1e-5f,
                   {out.data(), 1, 768});
  const std::vector<double> expected = reference::layer_norm(x, gamma, beta, 1e-5);
  const std::vector<float> result = out.download();
  for (std::size_t i = 0; i < 768; ++i) {
    EXPECT_NEAR(result[i], expected[i], 2e-4);
  }
}

TEST(CudaNorm, ARowIsTheSameToTheBitAloneAndInABatch) {
  constexpr std::int32_t kRows = 7;
  for (const std::int32_t cols : {96, 771, 4096}) {
    std::mt19937 random(11);
    const auto width = static_cast<std::size_t>(cols);
    const std::vector<float> x = normal_numbers(kRows * width, random), gamma = normal_numbers(width, random);
    const DeviceArray<float> batch(x), device_gamma(gamma), out(x.size());
    cuda::rms_norm(nullptr, {batch.data(), kRows, cols}, device_gamma.data(), 1e-6f,
                   {out.data(), kRows, cols});
    const std::vector<float> together = out.download();
    for (std::size_t row = 0; row < kRows; ++row) {
      const DeviceArray<float> alone(std::span<const float>(&x[row * width], width));
      cuda::rms_norm(nullptr, {alone.data(), 1, cols}, device_gamma.data(), 1e-6f, {alone.data(), 1, cols});
      EXPECT_EQ(std::memcmp(alone.download().data(), &together[row * width], width * sizeof(float)), 0)
          << row;
    }
  }
}

RC_GTEST_PROP(CudaRotary, AgreesWithTheReferenceAtAnyPosition, ()) {
  std::mt19937 random(*rc::gen::arbitrary<unsigned>());
  const int head_size = *rc::gen::element(2, 10, 64, 72, 80, 96, 128, 256);
  const int heads = *rc::gen::inRange(1, 5);
  const int rest = *rc::gen::inRange(0, 3) * head_size + *rc::gen::element(0, 1);
  const auto positions = *rc::gen::resize(
      6, rc::gen::container<std::vector<std::int32_t>>(rc::gen::oneOf(
             rc::gen::inRange(0, 2048), rc::gen::inRange(0, 2000000), rc::gen::inRange(0, 2147483647))));
  const int cols = heads * head_size + rest;
  const auto rows = static_cast<int>(positions.size());
  std::uniform_real_distribution<float> uniform(-2, 2);
  std::vector<float> x(static_cast<std::size_t>(rows * cols));
  std::generate(x.begin(), x.end(), [&] { return uniform(random); });
  std::vector<float> inv_freq;
  for (int i = 0; i < head_size; i += 2) {
    inv_freq.push_back(static_cast<float>(std::pow(10000.0, -static_cast<double>(i) / head_size)));
  }
  const DeviceArray<std::int32_t> device_positions(positions);
  const DeviceArray<float> device_inv_freq(inv_freq);
  for_each_schedule([&] {
    const DeviceArray<float> data(x);
    cuda::rotary(nullptr, {data.data(), rows, cols}, heads, head_size, device_positions.data(),
                 device_inv_freq.data());
    const std::vector<float> result = data.download();
    for (int row = 0; row < rows; ++row) {
      const std::size_t first = static_cast<std::size_t>(row * cols);
      for (int head = 0; head < heads; ++head) {
        const std::size_t at = first + static_cast<std::size_t>(head * head_size);
        const auto width = static_cast<std::size_t>(head_size);
        const std::vector<double> expected = reference::rotary(
            std::span(x).subspan(at, width), positions[static_cast<std::size_t>(row)], inv_freq);
        for (std::size_t d = 0; d < width; ++d) {
          RC_ASSERT(std::abs(static_cast<double>(result[at + d]) - expected[d]) < 1e-6);
        }
      }
      for (int i = heads * head_size; i < cols; ++i) {
        RC_ASSERT(result[first + static_cast<std::size_t>(i)] == x[first + static_cast<std::size_t>(i)]);
      }
    }
  });
}

RC_GTEST_PROP(CudaActivation, AgreesWithTheReferenceWithAndWithoutABias, ()) {
  Shape shape;
  const auto act =
      *rc::gen::element(Activation::none, Activation::relu, Activation::gelu, Activation::gelu_tanh);
  const std::vector<float> x = shape.numbers(4), bias = shape.row_numbers(0);
  const DeviceArray<float> device_bias(bias);
  const bool has_bias = *rc::gen::arbitrary<bool>();
  for_each_schedule([&] {
    const DeviceArray<float> data(x);
    cuda::bias_activation(nullptr, shape.tensor(data), has_bias ? device_bias.data() : nullptr, act);
    const std::vector<float> result = data.download();
    for (std::size_t i = 0; i < x.size(); ++i) {
      const float input = has_bias ? x[i] + bias[i % static_cast<std::size_t>(shape.cols)] : x[i];
      const double expected = reference::activate(static_cast<double>(input), act);
      // Relative, in the left tail too; the exponential's argument is rounded, which grows with its size.
      RC_ASSERT(std::abs(static_cast<double>(result[i]) - expected) <= 2e-5 * std::abs(expected) + 1e-30);
    }
  });
}

RC_GTEST_PROP(CudaActivation, SiluMulAgreesWithTheReference, ()) {
  Shape shape;
  const std::vector<float> gates = shape.numbers(30), ups = shape.numbers();
  std::vector<float> x;
  for (int row = 0; row < shape.rows; ++row) {
    const auto gate = shape.row(gates, row), up = shape.row(ups, row);
    x.insert(x.end(), gate.begin(), gate.end());
    x.insert(x.end(), up.begin(), up.end());
  }
  const DeviceArray<float> device_x(x), out(gates.size());
  for_each_schedule([&] {
    cuda::silu_mul(nullptr, {device_x.data(), shape.rows, 2 * shape.cols}, shape.tensor(out));
    const std::vector<float> result = out.download();
    for (std::size_t i = 0; i < result.size(); ++i) {
      const double expected = reference::silu(static_cast<double>(gates[i])) * static_cast<double>(ups[i]);
      RC_ASSERT(std::abs(static_cast<double>(result[i]) - expected) <= 2e-5 * std::abs(expected) + 1e-30);
    }
  });
}

std::vector<std::uint8_t> stored(const std::vector<float>& values, DType dtype) {
  std::vector<std::uint8_t> bytes(values.size() * kernels::size_of(dtype));
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (dtype == DType::f32) {
      std::memcpy(&bytes[4 * i], &values[i], 4);
    } else {
      const std::uint16_t bits =
          dtype == DType::bf16 ? kernels::cpu::f32_to_bf16(values[i]) : kernels::cpu::f32_to_f16(values[i]);
      std::memcpy(&bytes[2 * i], &bits, 2);
    }
  }
  return bytes;
}

RC_GTEST_PROP(CudaEmbedding, RowsOfATableOfAnyTypeAreFetchedExactly, ()) {
  Shape shape;
  constexpr int kTokens = 9;
  const auto dtype = *rc::gen::element(DType::f32, DType::bf16, DType::f16);
  const bool accumulate = *rc::gen::arbitrary<bool>();
  const std::vector<float> values =
      normal_numbers(static_cast<std::size_t>(kTokens * shape.cols), shape.random);
  const std::vector<std::uint8_t> table = stored(values, dtype);
  const std::vector<float> before = shape.numbers();
  std::vector<std::int32_t> ids;
  std::vector<float> expected;
  for (int row = 0; row < shape.rows; ++row) {
    ids.push_back(static_cast<std::int32_t>(shape.random() % kTokens));
    for (int i = 0; i < shape.cols; ++i) {
      const float value = kernels::cpu::load_as_f32(table.data(), dtype, ids.back() * shape.cols + i);
      expected.push_back(accumulate ? before[expected.size()] + value : value);
    }
  }
  const DeviceArray<std::uint8_t> device_table(table);
  const DeviceArray<std::int32_t> device_ids(ids);
  for_each_schedule([&] {
    const DeviceArray<float> out(before);
    cuda::embedding(nullptr, device_table.data(), dtype, device_ids.data(), shape.tensor(out), accumulate);
    RC_ASSERT(out.download() == expected);
  });
}

RC_GTEST_PROP(CudaEmbedding, GatheredRowsAreTheRowsAskedFor, ()) {
  Shape shape;
  constexpr int kRows = 6;
  const std::vector<float> x = normal_numbers(static_cast<std::size_t>(kRows * shape.cols), shape.random);
  std::vector<std::int32_t> rows;
  std::vector<float> expected;
  for (int i = 0; i < shape.rows; ++i) {
    rows.push_back(static_cast<std::int32_t>(shape.random() % kRows));
    const auto row = shape.row(x, rows.back());
    expected.insert(expected.end(), row.begin(), row.end());
  }
  const DeviceArray<float> device_x(x), out(expected.size());
  const DeviceArray<std::int32_t> device_rows(rows);
  for_each_schedule([&] {
    cuda::gather_rows(nullptr, {device_x.data(), kRows, shape.cols}, device_rows.data(), shape.tensor(out));
    RC_ASSERT(out.download() == expected);
  });
}

RC_GTEST_PROP(CudaConvert, RoundsToTheNearestOfTheStorageType, ()) {
  Shape shape;
  const auto dtype = *rc::gen::element(DType::f32, DType::bf16, DType::f16);
  std::vector<float> x = shape.numbers();
  for (float& value : x) {  // subnormals and overflow of f16 among them
    value = std::ldexp(value, static_cast<int>(shape.random() % 40) - 25);
  }
  const std::vector<std::uint8_t> expected = stored(x, dtype);
  const DeviceArray<float> device_x(x);
  const DeviceArray<std::uint8_t> out(expected.size());
  for_each_schedule([&] {
    cuda::convert(nullptr, shape.tensor(device_x), dtype, out.data());
    RC_ASSERT(out.download() == expected);
  });
}

/// The result of op(x, a vector of x's width, out), all arrays shifted by so many floats from where vectors
/// may start.
template <class Op>
std::vector<float> shifted_result(Op op, std::size_t shift) {
  constexpr std::int32_t kRows = 3, kCols = 64;
  std::mt19937 random(21);
  const auto array_of = [&](std::size_t count) {
    std::vector<float> values(shift);
    const std::vector<float> numbers = normal_numbers(count, random);
    values.insert(values.end(), numbers.begin(), numbers.end());
    return values;
  };
  const DeviceArray<float> x(array_of(kRows * kCols)), row(array_of(kCols)), out(array_of(kRows * kCols));
  op(Tensor{x.data() + shift, kRows, kCols}, row.data() + shift, Tensor{out.data() + shift, kRows, kCols});
  std::vector<float> result = x.download();
  const std::vector<float> written = out.download();
  result.insert(result.end(), written.begin() + static_cast<std::ptrdiff_t>(shift), written.end());
  result.erase(result.begin(), result.begin() + static_cast<std::ptrdiff_t>(shift));
  return result;
}

TEST(CudaElementwise, RowsThatDoNotStartAtVectorsGiveTheSameResults) {
  const std::vector<std::int32_t> integers = {2, 0, 1};
  const DeviceArray<std::int32_t> rows(integers);
  const auto check = [](const char* name, auto op) {
    const std::vector<float> aligned = shifted_result(op, 0), shifted = shifted_result(op, 1);
    ASSERT_EQ(aligned.size(), shifted.size());
    for (std::size_t i = 0; i < aligned.size(); ++i) {
      EXPECT_NEAR(aligned[i], shifted[i], 1e-5 * (1 + std::abs(aligned[i]))) << name << " " << i;
    }
  };
  check("layer_norm",
        [](Tensor x, float* row, Tensor out) { cuda::layer_norm(nullptr, x, row, row, 1e-5f, out); });
  check("rms_norm", [](Tensor x, float* row, Tensor out) { cuda::rms_norm(nullptr, x, row, 1e-5f, out); });
  check("add_rms_norm",
        [](Tensor x, float* row, Tensor out) { cuda::add_rms_norm(nullptr, x, out, row, 1e-5f, x); });
  check("rotary", [&](Tensor x, float* row, Tensor) { cuda::rotary(nullptr, x, 1, 64, rows.data(), row); });
  check("bias_activation",
        [](Tensor x, float* row, Tensor) { cuda::bias_activation(nullptr, x, row, Activation::gelu); });
  check("silu_mul", [](Tensor x, float*, Tensor out) {
    cuda::silu_mul(nullptr, {x.data, 1, 128}, {out.data, 1, 64});
  });
  check("embedding", [&](Tensor x, float*, Tensor out) {
    cuda::embedding(nullptr, x.data, DType::f32, rows.data(), out, true);
  });
  check("convert", [](Tensor x, float*, Tensor out) { cuda::convert(nullptr, x, DType::f32, out.data); });
  check("gather_rows",
        [&](Tensor x, float*, Tensor out) { cuda::gather_rows(nullptr, x, rows.data(), out); });
}

}  // namespace
}  // namespace pagelab::testing
