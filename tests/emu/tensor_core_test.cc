#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/cuda/primitives.cuh"
#include "tests/emu/simt_fixture.h"

namespace pagelab::testing {
namespace {

using namespace kernels::cuda_emulated;
using Kind = emu::KernelError::Kind;

/// A row-major matrix of small multiples of 1/8, exact in f16 and bf16 as are their products' sums in float.
class Matrix {
 public:
  Matrix(int rows, int cols) : cols_(cols), values_(static_cast<std::size_t>(rows * cols)) {}
  static Matrix random(int rows, int cols) {
    Matrix matrix(rows, cols);
    for (float& value : matrix.values_) {
      value = static_cast<float>(*rc::gen::inRange(-64, 65)) / 8;
    }
    return matrix;
  }
  float& at(int row, int col) { return values_[static_cast<std::size_t>(row * cols_ + col)]; }
  float at(int row, int col) const { return values_[static_cast<std::size_t>(row * cols_ + col)]; }

 private:
  int cols_;
  std::vector<float> values_;
};

/// d = a * b + c for a [16 x 16], b [16 x 8], c [16 x 8].
Matrix product(const Matrix& a, const Matrix& b, const Matrix& c) {
  Matrix d(16, 8);
  for (int row = 0; row < 16; ++row) {
    for (int col = 0; col < 8; ++col) {
      double sum = c.at(row, col);
      for (int k = 0; k < 16; ++k) {
        sum += static_cast<double>(a.at(row, k)) * b.at(k, col);
      }
      d.at(row, col) = static_cast<float>(sum);
    }
  }
  return d;
}

// The formulas of the PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type", element by
// element.
int a_row(int lane, int i) {
  return (i < 2 || (i >= 4 && i < 6)) ? lane >> 2 : (lane >> 2) + 8;
}
int a_col(int lane, int i) {
  return i < 4 ? lane % 4 * 2 + (i & 1) : lane % 4 * 2 + (i & 1) + 8;
}
int b_row(int lane, int i) {
  return i < 2 ? lane % 4 * 2 + (i & 1) : lane % 4 * 2 + (i & 1) + 8;
}
int b_col(int lane, int) {
  return lane >> 2;
}
int c_row(int lane, int i) {
  return i < 2 ? lane >> 2 : (lane >> 2) + 8;
}
int c_col(int lane, int i) {
  return lane % 4 * 2 + (i & 1);
}

template <class T>
void check_fragments() {
  const Matrix a = Matrix::random(16, 16);
  const Matrix b = Matrix::random(16, 8);
  const Matrix c = Matrix::random(16, 8);
  const Matrix expected = product(a, b, c);
  emu::set_schedule(*rc::gen::inRange<std::uint64_t>(0, 3));
  launch(64, [&] {
    const int lane = static_cast<int>(threadIdx.x % 32);
    std::uint32_t a_fragment[4];
    std::uint32_t b_fragment[2];
    float accumulator[4];
    for (int i = 0; i < 4; ++i) {
      a_fragment[i] = pack2<T>(a.at(a_row(lane, 2 * i), a_col(lane, 2 * i)),
                               a.at(a_row(lane, 2 * i + 1), a_col(lane, 2 * i + 1)));
      accumulator[i] = c.at(c_row(lane, i), c_col(lane, i));
    }
    for (int i = 0; i < 2; ++i) {
      b_fragment[i] = pack2<T>(b.at(b_row(lane, 2 * i), b_col(lane, 2 * i)),
                               b.at(b_row(lane, 2 * i + 1), b_col(lane, 2 * i + 1)));
    }
    multiply_add<T>(accumulator, a_fragment, b_fragment);
    for (int i = 0; i < 4; ++i) {
      RC_ASSERT(accumulator[i] == expected.at(c_row(lane, i), c_col(lane, i)));
    }
  });
  emu::set_schedule(0);
}
RC_GTEST_PROP(MultiplyAdd, FollowsTheFragmentLayoutInF16, ()) {
  check_fragments<f16>();
}
RC_GTEST_PROP(MultiplyAdd, FollowsTheFragmentLayoutInBf16, ()) {
  check_fragments<bf16>();
}

template <class T>
struct Staged {
  alignas(16) T a[16][16];
  alignas(16) T b[16][8];
  alignas(16) T b_transposed[8][16];
};

/// From row-major tiles in shared memory through ldmatrix to the product: A as it is; B, stored [k][n],
/// transposed on the way; B stored [n][k] as it is.
template <class T>
void check_tiles() {
  const Matrix a = Matrix::random(16, 16);
  const Matrix b = Matrix::random(16, 8);
  const Matrix zero(16, 8);
  const Matrix expected = product(a, b, zero);
  emu::set_schedule(*rc::gen::inRange<std::uint64_t>(0, 3));
  launch(
      32,
      [&] {
        auto& staged = shared_memory<Staged<T>>();
        const int lane = static_cast<int>(threadIdx.x);
        for (int index = lane; index < 256; index += 32) {
          staged.a[index / 16][index % 16] = from_float<T>(a.at(index / 16, index % 16));
        }
        for (int index = lane; index < 128; index += 32) {
          staged.b[index / 8][index % 8] = staged.b_transposed[index % 8][index / 8] =
              from_float<T>(b.at(index / 8, index % 8));
        }
        __syncwarp();
        std::uint32_t a_fragment[4];
        std::uint32_t b_twice[4];
        std::uint32_t b_plain_twice[4];
        load_matrices(a_fragment, &staged.a[lane % 16][lane / 16 * 8]);
        load_matrices_transposed(b_twice, &staged.b[lane % 16][0]);
        load_matrices(b_plain_twice, &staged.b_transposed[lane % 8][lane / 8 % 2 * 8]);
        for (const auto* pairs : {b_twice, b_twice + 2, b_plain_twice, b_plain_twice + 2}) {
          const std::uint32_t b_fragment[2] = {pairs[0], pairs[1]};
          float accumulator[4] = {};
          multiply_add<T>(accumulator, a_fragment, b_fragment);
          for (int i = 0; i < 4; ++i) {
            RC_ASSERT(accumulator[i] == expected.at(c_row(lane, i), c_col(lane, i)));
          }
        }
      },
      sizeof(Staged<T>));
  emu::set_schedule(0);
}
RC_GTEST_PROP(LoadMatrices, FeedsMultiplyAddFromTilesInF16, ()) {
  check_tiles<f16>();
}
RC_GTEST_PROP(LoadMatrices, FeedsMultiplyAddFromTilesInBf16, ()) {
  check_tiles<bf16>();
}

struct Rows {
  alignas(16) std::uint16_t elements[32][8];
};

/// Row r of matrix i holds 64 * i + 8 * r + column.
void number(Rows& rows) {
  for (int col = 0; col < 8; ++col) {
    rows.elements[threadIdx.x][col] =
        static_cast<std::uint16_t>(8 * threadIdx.x + static_cast<unsigned>(col));
  }
  __syncwarp();
}

TEST(LoadMatrices, GivesEachLaneItsPairOfEachMatrix) {
  under_schedules([] {
    launch(
        32,
        [] {
          Rows& rows = shared_memory<Rows>();
          number(rows);
          std::uint32_t plain[4];
          std::uint32_t transposed[4];
          load_matrices(plain, rows.elements[threadIdx.x]);
          load_matrices_transposed(transposed, rows.elements[threadIdx.x]);
          const unsigned row = threadIdx.x / 4;
          const unsigned col = threadIdx.x % 4 * 2;
          for (unsigned matrix = 0; matrix < 4; ++matrix) {
            EXPECT_EQ(plain[matrix], (64 * matrix + 8 * row + col) | (64 * matrix + 8 * row + col + 1) << 16);
            EXPECT_EQ(transposed[matrix], (64 * matrix + 8 * col + row) | (64 * matrix + 8 * (col + 1) + row)
                                                                              << 16);
          }
        },
        sizeof(Rows));
  });
}

TEST(LoadMatrices, OfOneOrTwoTakesTheFirstLanesAddresses) {
  launch(
      32,
      [] {
        Rows& rows = shared_memory<Rows>();
        number(rows);
        for (const int count : {1, 2}) {
          std::uint32_t fragment[4] = {};
          const bool gives_row = threadIdx.x < 8 * static_cast<unsigned>(count);
          emu::load_matrices(fragment, count, false, gives_row ? rows.elements[threadIdx.x] : nullptr, 0,
                             emu::site());
          for (int matrix = 0; matrix < count; ++matrix) {
            EXPECT_EQ(fragment[matrix] & 0xffff, 64u * matrix + 2 * threadIdx.x);
          }
        }
      },
      sizeof(Rows));
}

TEST(LoadMatrices, RefusesRowsThatAreMisalignedOrNotInSharedMemory) {
  const auto load = [](auto row) {
    return failure_of(
        32,
        [&] {
          std::uint32_t fragment[4];
          load_matrices(fragment, row(shared_memory<Rows>()));
        },
        sizeof(Rows));
  };
  const Failure misaligned =
      load([](Rows& rows) { return &rows.elements[threadIdx.x][threadIdx.x == 9 ? 4 : 0]; });
  EXPECT_EQ(misaligned.kind, Kind::illegal_address);
  EXPECT_TRUE(misaligned.mentions("tensor_core_test.cc:") && misaligned.mentions("thread (9,0,0)"))
      << misaligned.report;
  EXPECT_EQ(load([](Rows& rows) { return rows.elements[threadIdx.x + 1]; }).kind, Kind::illegal_address);
}

TEST(TensorCore, NeedsAWholeWarpInTheSameInstruction) {
  under_schedules([] {
    const auto multiply = [](auto type) {
      float c[4] = {};
      const std::uint32_t a[4] = {};
      const std::uint32_t b[2] = {};
      multiply_add<decltype(type)>(c, a, b);
    };
    EXPECT_EQ(failure_of(40, [&] { multiply(f16{}); }).kind, Kind::collective);
    EXPECT_EQ(failure_of(32, [&] { threadIdx.x < 31 ? multiply(f16{}) : void(); }).kind, Kind::collective);
    EXPECT_EQ(failure_of(32, [&] { threadIdx.x % 2 == 0 ? multiply(f16{}) : multiply(bf16{}); }).kind,
              Kind::collective);
    EXPECT_EQ(failure_of(
                  32,
                  [&] {
                    std::uint32_t fragment[4];
                    Rows& rows = shared_memory<Rows>();
                    threadIdx.x < 16 ? load_matrices(fragment, rows.elements[threadIdx.x])
                                     : load_matrices_transposed(fragment, rows.elements[threadIdx.x]);
                  },
                  sizeof(Rows))
                  .kind,
              Kind::collective);
  });
}

TEST(MultiplyAdd, RoundsTheExactSumOnce) {
  launch(32, [] {
    // 2^12 + 15 * 2^-12, all in row 0 by column 0: float additions one by one would lose the small ones.
    const bool first_row = threadIdx.x < 4;
    const std::uint32_t a[4] = {
        first_row ? (threadIdx.x == 0 ? pack2<f16>(4096, 0x1p-12f) : pack2<f16>(0x1p-12f, 0x1p-12f)) : 0u, 0u,
        first_row ? pack2<f16>(0x1p-12f, 0x1p-12f) : 0u, 0u};
    const std::uint32_t b[2] = {pack2<f16>(1, 1), pack2<f16>(1, 1)};
    float c[4] = {};
    multiply_add<f16>(c, a, b);
    if (first_row) {
      EXPECT_EQ(c[0], static_cast<float>(4096 + 15 * 0x1p-12));
    }
  });
}

}  // namespace
}  // namespace pagelab::testing
