// Embedding lookups read any row of a packed matrix exactly as it was stored.
#include "kernels/cpu/embedding.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <random>
#include <vector>

#include "kernels/cpu/float_convert.h"
#include "kernels/reference/embedding.h"

namespace pagelab::kernels::cpu {
namespace {

RC_GTEST_PROP(Embedding, LookupsInAPackedMatrixAgreeWithTheReference, ()) {
  const int rows = *rc::gen::inRange(1, 200);
  const int cols = *rc::gen::inRange(1, 300);
  const int tokens = *rc::gen::inRange(0, 40);
  const bool accumulate = *rc::gen::arbitrary<bool>();
  const DType dtype = *rc::gen::element(DType::f32, DType::bf16, DType::f16);
  std::mt19937 random(*rc::gen::arbitrary<unsigned>());
  // Multiples of 1/64 below 2: every storage type holds them exactly.
  const auto values = [&](int count) {
    std::vector<float> made(static_cast<std::size_t>(count));
    for (float& value : made) {
      value = static_cast<float>(static_cast<int>(random() % 256) - 128) / 64.0f;
    }
    return made;
  };
  const std::vector<float> table = values(rows * cols);
  std::vector<float> out = values(tokens * cols);
  std::vector<std::int32_t> ids(static_cast<std::size_t>(tokens));
  for (std::int32_t& id : ids) {
    id = static_cast<std::int32_t>(random() % static_cast<unsigned>(rows));
  }
  const std::vector<double> expected = reference::embedding(
      table, cols, ids, accumulate ? std::span<const float>(out) : std::span<const float>());
  ThreadPool pool(2);
  const HostTensor part{table.data(), DType::f32, rows, cols};
  embedding(pool, PackedMatrix(pool, {&part, 1}, dtype), ids, {out.data(), tokens, cols}, accumulate);
  RC_ASSERT(std::vector<double>(out.begin(), out.end()) == expected);
}

TEST(GatherRows, CopiesTheNamedRowsInOrder) {
  ThreadPool pool(2);
  std::vector<float> x(10 * 3);
  for (std::size_t i = 0; i < x.size(); ++i) {
    x[i] = static_cast<float>(i);
  }
  const std::vector<std::int32_t> rows = {9, 0, 0, 4};
  std::vector<float> out(4 * 3);
  gather_rows(pool, {x.data(), 10, 3}, rows, {out.data(), 4, 3});
  EXPECT_EQ(out, (std::vector<float>{27, 28, 29, 0, 1, 2, 0, 1, 2, 12, 13, 14}));
}

}  // namespace
}  // namespace pagelab::kernels::cpu
