#include <cublas_v2.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string_view>
#include <utility>

#include "kernels/emu/float16.h"
#include "kernels/emu/memory.h"
#include "kernels/emu/simt.h"
#include "tests/emu/runtime_fixture.h"

namespace pagelab::emu {
namespace {

class CublasTest : public RuntimeTest {
 protected:
  void SetUp() override {
    RuntimeTest::SetUp();
    ASSERT_EQ(cublasCreate(&handle_), CUBLAS_STATUS_SUCCESS);
  }
  void TearDown() override {
    EXPECT_EQ(cublasDestroy(handle_), CUBLAS_STATUS_SUCCESS);
    RuntimeTest::TearDown();
  }
  cublasHandle_t handle_ = nullptr;
};

std::size_t bytes_of(cudaDataType type) {
  return type == CUDA_R_32F ? 4 : 2;
}

/// Numbers of a type in device memory, with what they are worth; drawn from [-1, 1].
class Values {
 public:
  Values(std::size_t count, cudaDataType type, std::uint32_t seed) : count_(count), type_(type) {
    EXPECT_EQ(cudaMalloc(&data_, count * bytes_of(type)), cudaSuccess);
    std::mt19937 random(seed);
    std::uniform_real_distribution<float> uniform(-1, 1);
    for (std::size_t i = 0; i < count; ++i) {
      set(i, uniform(random));
    }
  }
  ~Values() { cudaFree(data_); }
  Values(const Values&) = delete;
  Values& operator=(const Values&) = delete;

  void* data() const { return data_; }
  float get(std::size_t i) const {
    return type_ == CUDA_R_32F   ? static_cast<const float*>(data_)[i]
           : type_ == CUDA_R_16F ? f16_to_float(static_cast<const std::uint16_t*>(data_)[i])
                                 : bf16_to_float(static_cast<const std::uint16_t*>(data_)[i]);
  }
  void set(std::size_t i, float value) {
    if (type_ == CUDA_R_32F) {
      static_cast<float*>(data_)[i] = value;
    } else {
      static_cast<std::uint16_t*>(data_)[i] =
          type_ == CUDA_R_16F ? float_to_f16(value) : float_to_bf16(value);
    }
  }
  std::vector<double> all() const {
    std::vector<double> values;
    for (std::size_t i = 0; i < count_; ++i) {
      values.push_back(get(i));
    }
    return values;
  }

 private:
  void* data_ = nullptr;
  std::size_t count_;
  cudaDataType type_;
};

struct Case {
  int m, n, k, lda, ldb, ldc, batches;
  bool turn_a, turn_b;
  cudaDataType type, c_type;
  float alpha, beta;
};

cublasOperation_t operation(bool turned) {
  return turned ? CUBLAS_OP_T : CUBLAS_OP_N;
}

/// Elements from one matrix of a batch to the next.
std::size_t stride(int leading, int columns) {
  return static_cast<std::size_t>(leading) * static_cast<std::size_t>(columns);
}

cublasStatus_t multiply(cublasHandle_t handle, const Case& c, const Values& a, const Values& b,
                        const Values& out) {
  return cublasGemmStridedBatchedEx(
      handle, operation(c.turn_a), operation(c.turn_b), c.m, c.n, c.k, &c.alpha, a.data(), c.type, c.lda,
      static_cast<long long>(stride(c.lda, c.turn_a ? c.m : c.k)), b.data(), c.type, c.ldb,
      static_cast<long long>(stride(c.ldb, c.turn_b ? c.k : c.n)), &c.beta, out.data(), c.c_type, c.ldc,
      static_cast<long long>(stride(c.ldc, c.n)), c.batches, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT);
}

Case any_case() {
  Case c{};
  c.m = *rc::gen::inRange(1, 40);
  c.n = *rc::gen::inRange(1, 20);
  c.k = *rc::gen::inRange(0, 70);
  c.turn_a = *rc::gen::arbitrary<bool>();
  c.turn_b = *rc::gen::arbitrary<bool>();
  c.lda = std::max(1, c.turn_a ? c.k : c.m) + *rc::gen::inRange(0, 3);
  c.ldb = std::max(1, c.turn_b ? c.n : c.k) + *rc::gen::inRange(0, 3);
  c.ldc = c.m + *rc::gen::inRange(0, 3);
  c.batches = *rc::gen::inRange(1, 4);
  c.type = *rc::gen::element(CUDA_R_32F, CUDA_R_16F, CUDA_R_16BF);
  c.c_type = *rc::gen::element(CUDA_R_32F, c.type);
  c.alpha = *rc::gen::element(1.0f, -0.5f);
  c.beta = *rc::gen::element(0.0f, 1.0f, 0.25f);
  return c;
}

/// What a rounding to `type` may change of a value of about this size.
double tolerance(cudaDataType type, double size) {
  return size * (type == CUDA_R_32F ? 1e-5 : type == CUDA_R_16F ? 1e-3 : 8e-3) + 1e-6;
}

RC_GTEST_FIXTURE_PROP(CublasTest, ProductsEqualThoseInDoubleForAllTransposesTypesAndStrides, ()) {
  const Case c = any_case();
  const auto batches = static_cast<std::size_t>(c.batches);
  const std::size_t a_stride = stride(c.lda, c.turn_a ? c.m : c.k),
                    b_stride = stride(c.ldb, c.turn_b ? c.k : c.n), c_stride = stride(c.ldc, c.n);
  const Values a(std::max<std::size_t>(1, a_stride * batches), c.type, 1),
      b(std::max<std::size_t>(1, b_stride * batches), c.type, 2);
  const Values out(c_stride * batches, c.c_type, 3);
  const std::vector<double> before = out.all();
  RC_ASSERT(multiply(handle_, c, a, b, out) == CUBLAS_STATUS_SUCCESS);
  for (std::size_t batch = 0; batch < batches; ++batch) {
    for (int j = 0; j < c.n; ++j) {
      for (int i = 0; i < c.ldc; ++i) {
        const std::size_t at = batch * c_stride + static_cast<std::size_t>(i + j * c.ldc);
        if (i >= c.m) {  // between columns: not C's
          RC_ASSERT(static_cast<double>(out.get(at)) == before[at]);
          continue;
        }
        double sum = 0, size = std::abs(before[at]);
        for (int p = 0; p < c.k; ++p) {
          const int a_at = c.turn_a ? p + i * c.lda : i + p * c.lda;
          const int b_at = c.turn_b ? j + p * c.ldb : p + j * c.ldb;
          const double term = double{a.get(batch * a_stride + static_cast<std::size_t>(a_at))} *
                              b.get(batch * b_stride + static_cast<std::size_t>(b_at));
          sum += term;
          size += std::abs(term);
        }
        const double expected = c.alpha * sum + c.beta * before[at];
        RC_ASSERT(std::abs(out.get(at) - expected) <= tolerance(c.c_type, size));
      }
    }
  }
}

RC_GTEST_FIXTURE_PROP(CublasTest, AColumnDoesNotDependOnTheColumnsBesideIt, ()) {
  Case c = any_case();
  c.batches = 1;
  c.turn_b = false;
  c.ldb = std::max(1, c.k);
  const std::size_t a_size = std::max<std::size_t>(1, stride(c.lda, c.turn_a ? c.m : c.k));
  const Values a(a_size, c.type, 1), b(std::max<std::size_t>(1, stride(c.ldb, c.n)), c.type, 2);
  const Values together(stride(c.ldc, c.n), c.c_type, 3), alone(stride(c.ldc, c.n), c.c_type, 3);
  RC_ASSERT(multiply(handle_, c, a, b, together) == CUBLAS_STATUS_SUCCESS);
  const auto last = static_cast<std::size_t>(c.n - 1);
  const auto offset = [&](const Values& values, int leading, cudaDataType type) {
    return static_cast<std::byte*>(values.data()) + last * static_cast<std::size_t>(leading) * bytes_of(type);
  };
  RC_ASSERT(cublasGemmEx(handle_, operation(c.turn_a), CUBLAS_OP_N, c.m, 1, c.k, &c.alpha, a.data(), c.type,
                         c.lda, offset(b, c.ldb, c.type), c.type, c.ldb, &c.beta,
                         offset(alone, c.ldc, c.c_type), c.c_type, c.ldc, CUBLAS_COMPUTE_32F,
                         CUBLAS_GEMM_DEFAULT) == CUBLAS_STATUS_SUCCESS);
  for (std::size_t i = 0; i < static_cast<std::size_t>(c.m); ++i) {
    const std::size_t at = i + last * static_cast<std::size_t>(c.ldc);
    RC_ASSERT(together.get(at) == alone.get(at));
  }
}

constexpr Case kSmall{4, 3, 5, 4, 5, 4, 1, false, false, CUDA_R_32F, CUDA_R_32F, 1.0f, 0.0f};

struct Operands {
  Values a{20, CUDA_R_32F, 1}, b{15, CUDA_R_32F, 2}, c{12, CUDA_R_32F, 3};
};

TEST_F(CublasTest, WithBetaZeroWhatCHoldsDoesNotMatter) {
  Operands operands;
  for (std::size_t i = 0; i < 12; ++i) {
    operands.c.set(i, std::numeric_limits<float>::quiet_NaN());
  }
  EXPECT_EQ(multiply(handle_, kSmall, operands.a, operands.b, operands.c), CUBLAS_STATUS_SUCCESS);
  for (const double value : operands.c.all()) {
    EXPECT_FALSE(std::isnan(value));
  }
}

TEST_F(CublasTest, ProductsAreQueuedOnTheHandlesStream) {
  set_stream_order(StreamOrder::lazy);
  const Operands operands;
  const cudaStream_t stream = new_stream();
  EXPECT_EQ(cublasSetStream(handle_, stream), CUBLAS_STATUS_SUCCESS);
  const std::vector<double> before = operands.c.all();
  EXPECT_EQ(multiply(handle_, kSmall, operands.a, operands.b, operands.c), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(operands.c.all(), before);
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  EXPECT_NE(operands.c.all(), before);
}

TEST_F(CublasTest, ArgumentsThatCublasRefusesAreRefused) {
  const Operands operands;
  const auto status = [&](auto change) {
    Case changed = kSmall;
    change(changed);
    return multiply(handle_, changed, operands.a, operands.b, operands.c);
  };
  EXPECT_EQ(status([](Case& c) { c.m = -1; }), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(status([](Case& c) { c.lda = 3; }), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(status([](Case& c) { c.ldb = 4; }), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(status([](Case& c) { c.ldc = 3; }), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(status([](Case& c) { c.type = CUDA_R_64F; }), CUBLAS_STATUS_NOT_SUPPORTED);
  EXPECT_EQ(status([](Case& c) { c.c_type = CUDA_R_16F; }), CUBLAS_STATUS_NOT_SUPPORTED);
  EXPECT_EQ(status([](Case& c) { c.n = 0; }), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(multiply(nullptr, kSmall, operands.a, operands.b, operands.c), CUBLAS_STATUS_NOT_INITIALIZED);
  EXPECT_EQ(cublasSetWorkspace(handle_, static_cast<std::byte*>(operands.a.data()) + 4, 16),
            CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(cublasSetMathMode(handle_, CUBLAS_TF32_TENSOR_OP_MATH), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(std::string_view(cublasGetStatusName(CUBLAS_STATUS_NOT_SUPPORTED)),
            "CUBLAS_STATUS_NOT_SUPPORTED");
}

TEST_F(CublasTest, MatricesAndWorkspacesOutsideOfAllocationsFailTheProduct) {
  const Operands operands;
  const auto report_of = [&](auto call) -> std::string {
    EXPECT_THROW(call(), KernelError);
    return last_report();
  };
  Case wide = kSmall;
  wide.lda = 6;
  EXPECT_NE(report_of([&] {
              multiply(handle_, wide, operands.a, operands.b, operands.c);
            }).find("matrix A of 4 x 5"),
            std::string::npos);
  wide = kSmall;
  wide.n = 4;
  EXPECT_NE(report_of([&] { multiply(handle_, wide, operands.a, operands.b, operands.c); }).find("matrix B"),
            std::string::npos);
  {
    const Values workspace(64, CUDA_R_32F, 1);
    EXPECT_EQ(cublasSetWorkspace(handle_, workspace.data(), 256), CUBLAS_STATUS_SUCCESS);
    EXPECT_EQ(multiply(handle_, kSmall, operands.a, operands.b, operands.c), CUBLAS_STATUS_SUCCESS);
  }
  EXPECT_NE(
      report_of([&] { multiply(handle_, kSmall, operands.a, operands.b, operands.c); }).find("workspace"),
      std::string::npos);
}

}  // namespace
}  // namespace pagelab::emu
