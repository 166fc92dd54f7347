// CpuOps as a forward pass sees it: weights, the arena and the operations put together.
#include "kernels/cpu/cpu_ops.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace pagelab::kernels::cpu {
namespace {

TEST(CpuOps, OneTiedWeightServesTheLookupAndTheProduct) {
  CpuOps ops({.threads = 2, .weight_dtype = DType::bf16});
  const std::vector<float> table = {1, 2, 3, 4, 5, 6};  // [3, 2]
  const HostTensor part{table.data(), DType::f32, 3, 2};
  const auto weight = ops.matrix({&part, 1});
  ops.begin_step();
  const Tensor x = ops.scratch(2, 2);
  const std::vector<std::int32_t> ids = {2, 0};
  ops.embedding(*weight, ids, x, false);
  EXPECT_EQ(std::vector<float>(x.data, x.data + 4), (std::vector<float>{5, 6, 1, 2}));
  const Tensor logits = ops.scratch(2, 3);
  ops.linear(x, *weight, nullptr, Activation::none, false, logits);
  EXPECT_EQ(std::vector<float>(logits.data, logits.data + 6), (std::vector<float>{17, 39, 61, 5, 11, 17}));
}

TEST(CpuOps, LinearAddsBiasAndResidual) {
  CpuOps ops({.threads = 1, .weight_dtype = DType::f32});
  const std::vector<float> w = {1, 0, 0, 1};
  const std::vector<float> first_bias = {10};
  const std::vector<float> second_bias = {20};
  const HostTensor matrix_part{w.data(), DType::f32, 2, 2};
  const std::vector<HostTensor> bias_parts = {{first_bias.data(), DType::f32, 1, 1},
                                              {second_bias.data(), DType::f32, 1, 1}};
  const auto weight = ops.matrix({&matrix_part, 1});
  const auto bias = ops.vector(bias_parts);
  std::vector<float> x = {1, 2};
  std::vector<float> out = {100, 200};
  ops.linear({x.data(), 1, 2}, *weight, bias.get(), Activation::none, true, {out.data(), 1, 2});
  EXPECT_EQ(out, (std::vector<float>{111, 222}));
}

TEST(CpuOps, TensorsOfAStepDoNotOverlapWhileTheArenaGrows) {
  CpuOps ops({.threads = 1});
  for (int step = 0; step < 3; ++step) {
    ops.begin_step();
    std::vector<Tensor> tensors;
    for (int i = 0; i < 40; ++i) {
      tensors.push_back(ops.scratch(100 + i, 777));
      std::fill_n(tensors.back().data, (100 + i) * 777, static_cast<float>(i));
    }
    for (int i = 0; i < 40; ++i) {
      const float* data = tensors[i].data;
      EXPECT_TRUE(
          std::all_of(data, data + (100 + i) * 777, [&](float v) { return v == static_cast<float>(i); }));
    }
  }
}

TEST(CpuOps, TheArenaIsReusedOnceItHasGrown) {
  CpuOps ops({.threads = 1});
  const auto addresses = [&] {
    ops.begin_step();
    std::vector<float*> found;
    for (int i = 0; i < 8; ++i) {
      found.push_back(ops.scratch(1000, 1000).data);
    }
    return found;
  };
  addresses();
  const std::vector<float*> second = addresses();
  EXPECT_EQ(second, addresses());
}

TEST(CpuOps, TimeIsBookedOnTheKindOfOperation) {
  CpuOps ops({.threads = 1});
  std::vector<float> x(1 << 16, 1.0f);
  std::vector<float> out(1 << 15);
  ops.silu_mul({x.data(), 1, 1 << 16}, {out.data(), 1, 1 << 15});
  EXPECT_GT(ops.seconds_in(OpKind::activation), 0);
  EXPECT_EQ(ops.seconds_in(OpKind::linear), 0);
}

TEST(OpKind, EveryKindHasAName) {
  for (int kind = 0; kind < static_cast<int>(OpKind::count_); ++kind) {
    EXPECT_FALSE(name_of(static_cast<OpKind>(kind)).empty());
  }
}

}  // namespace
}  // namespace pagelab::kernels::cpu
