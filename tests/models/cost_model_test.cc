#include "models/cost_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "core/error.h"
#include "tests/models/plain_device.h"

namespace pagelab {
namespace {

using test::batch_of;
using test::free_device;
using test::StepOf;
using test::tiny_shape;

/// What kind `kind` costs in a step of the tiny model.
double cost(const DeviceDescription& device, StepCostKind kind, const StepOf& step,
            const CostOptions& options = {}, const ModelShape& shape = tiny_shape()) {
  return CostModel(device, shape, options).step(batch_of(step))[kind];
}

// The tiny model: width 8, feed-forward 16, vocabulary 100, two layers, numbers of two bytes. Its products
// per layer are (n, k) = (24, 8), (8, 8), (16, 8), (8, 16): 512 numbers. K and V of a token are 32 bytes a
// layer.

TEST(CostModel, NothingToDoCostsNothing) {
  EXPECT_EQ(CostModel(free_device(), tiny_shape(), {}).step({}).total(), Seconds(0));
}

TEST(CostModel, AProductComputesTwiceMNKAndReadsAndWritesItsThreeMatrices) {
  DeviceDescription device = free_device();
  device.gemm.peak_flops = 1;
  EXPECT_DOUBLE_EQ(cost(device, StepCostKind::linear, {.chunks = {{0, 3}}}), 2 * (2 * 3 * 512));
  EXPECT_DOUBLE_EQ(cost(device, StepCostKind::head, {.chunks = {{0, 3}}, .rows = 2}), 2 * 2 * 100 * 8);
  device = free_device();
  device.gemm.bandwidth = 1;
  const double numbers = (192 + 3 * 32) + (64 + 3 * 16) + 2 * (128 + 3 * 24);
  EXPECT_DOUBLE_EQ(cost(device, StepCostKind::linear, {.chunks = {{0, 3}}}), 2 * 2 * numbers);
  EXPECT_DOUBLE_EQ(cost(device, StepCostKind::head, {.chunks = {{0, 3}}, .rows = 2}), 2 * (800 + 2 * 108));
}

TEST(CostModel, AddsAPrefillToAStepByTheDifference) {
  DeviceDescription device = free_device();
  device.gemm.peak_flops = 1;
  device.gemm.overlap = 1000;
  device.step.token_s = 10;
  // Two layers of 512 numbers; 5 tokens more cost the same beside however many decodes.
  const CostModel model(device, tiny_shape(), {});
  EXPECT_NEAR(model.added_prefill_s(0, 5), 2 * (2 * 5 * 512) + 50, 1e-6);
  EXPECT_NEAR(model.added_prefill_s(3, 5), 2 * (2 * 5 * 512) + 50, 1e-6);
  device.gemm.peak_flops = test::kFree;
  device.gemm.bandwidth = 1;  // the weights are read anyway
  const CostModel reading(device, tiny_shape(), {});
  EXPECT_NEAR(reading.added_prefill_s(3, 5), 2 * 2 * 5 * (32 + 16 + 24 + 24) + 50, 1e-6);
}

TEST(CostModel, MapsAPagePerLayerForKAndOneForVOfEachBlock) {
  DeviceDescription device = free_device();
  device.step.fixed_s = 5;
  const auto map = [&](const CostOptions& options) {
    StepBatch batch = batch_of({});
    batch.mapped = Blocks(3);
    return CostModel(device, tiny_shape(), options).step(batch)[StepCostKind::map];
  };
  EXPECT_DOUBLE_EQ(map({.map_s = 1}), 3 * 2 * 2);
  EXPECT_DOUBLE_EQ(map({.map_s = 1, .map_overlaps = true}), 12 - 5);
  EXPECT_DOUBLE_EQ(map({.map_s = 0.25, .map_overlaps = true}), 0);
}

TEST(CostModel, AProductIsLaunchedAndComputesWhileItReads) {
  DeviceDescription device = free_device();
  device.gemm.peak_flops = 2.0 / 3;  // 1 x 1 x 1: 2 operations in 3 s
  device.gemm.bandwidth = 1.5;       // and 6 bytes in 4 s
  device.gemm.overlap = 2;
  device.gemm.launch_s = 7;
  EXPECT_DOUBLE_EQ(CostModel(device, tiny_shape(), {}).product_s(1, 1, 1), 7 + 5);
  device.gemm.overlap = 1;
  EXPECT_DOUBLE_EQ(CostModel(device, tiny_shape(), {}).product_s(1, 1, 1), 7 + 3 + 4);
  device.gemm.overlap = 1000;
  EXPECT_DOUBLE_EQ(CostModel(device, tiny_shape(), {}).product_s(1, 1, 1), 7 + 4);
  EXPECT_DOUBLE_EQ(
      cost(device, StepCostKind::linear, {.chunks = {{0, 1}}}) -
          [&] {
            device.gemm.launch_s = 0;
            return cost(device, StepCostKind::linear, {.chunks = {{0, 1}}});
          }(),
      2 * 4 * 7);
}

TEST(CostModel, EfficienciesAreInterpolatedInTheLogarithm) {
  DeviceDescription device = free_device();
  device.gemm.peak_flops = 1;
  device.gemm.compute = {{1, 4}, {0.5, 1}};
  const CostModel rows(device, tiny_shape(), {});
  EXPECT_DOUBLE_EQ(rows.product_s(1, 10, 10), 200 / 0.5);
  EXPECT_DOUBLE_EQ(rows.product_s(2, 10, 10), 400 / 0.75);
  EXPECT_DOUBLE_EQ(rows.product_s(64, 10, 10), 12800);
  device = free_device();
  device.gemm.bandwidth = 1;
  device.gemm.traffic = {{200, 800}, {0.5, 1}};  // bytes of the weights alone
  EXPECT_DOUBLE_EQ(CostModel(device, tiny_shape(), {}).product_s(1, 20, 10), 2 * (200 + 30) / 0.75);
}

TEST(CostModel, PrefillAttentionComputesCausalPairsOrReadsItsContext) {
  DeviceDescription device = free_device();
  device.prefill_attention.peak_flops = 1;
  device.prefill_attention.efficiency = {{3, 12}, {0.5, 1}};
  // 3 tokens after 2: 3 + 4 + 5 pairs, each 4 * 8 operations.
  EXPECT_DOUBLE_EQ(cost(device, StepCostKind::prefill_attention, {.chunks = {{2, 3}}}), 2 * 12 * 32 / 0.5);
  EXPECT_DOUBLE_EQ(cost(device, StepCostKind::prefill_attention, {.chunks = {{2, 3}, {0, 2}}}),
                   2 * (12 + 3) * 32 / 0.5);
  device = free_device();
  device.prefill_attention.bandwidth = 1;
  EXPECT_DOUBLE_EQ(cost(device, StepCostKind::prefill_attention, {.chunks = {{2, 3}}}), 2 * 5 * 32);
}

TEST(CostModel, PrefillAttentionIsOneCallPerLayer) {
  DeviceDescription device = free_device();
  device.prefill_attention.launch_s = 100;
  device.prefill_attention.sequence_s = 10;
  device.prefill_attention.longest_s = 1;
  EXPECT_DOUBLE_EQ(cost(device, StepCostKind::prefill_attention, {.chunks = {{2, 3}, {0, 2}, {40, 1}}}),
                   2 * (100 + 2 * 10 + 5));
  EXPECT_DOUBLE_EQ(cost(device, StepCostKind::prefill_attention, {.chunks = {{40, 1}}}), 0);
}

TEST(CostModel, DecodeAttentionReadsTheContexts) {
  DeviceDescription device = free_device();
  device.decode_attention.bandwidth = 1;
  device.decode_attention.efficiency = {{384, 768}, {0.5, 1}};
  const StepOf decodes{.chunks = {{4, 1}, {6, 1}, {0, 5}}};  // contexts of 5 and 7; the third is a prefill
  EXPECT_DOUBLE_EQ(cost(device, StepCostKind::decode_attention, decodes), 2 * 12 * 32 / 0.5);
  EXPECT_DOUBLE_EQ(cost(device, StepCostKind::decode_attention, decodes, {.block_size = Tokens(4)}),
                   2 * 2 * 12 * 32 / 0.5);
  EXPECT_DOUBLE_EQ(cost(device, StepCostKind::decode_attention, decodes, {.kv_dtype = kernels::DType::f32}),
                   2 * 2 * 12 * 32);
}

TEST(CostModel, DecodeAttentionWalksTheLongestContextAndStartsEveryHead) {
  DeviceDescription device = free_device();
  device.decode_attention.launch_s = {100, 200};
  device.decode_attention.longest_s = {1, 3};
  const StepOf decodes{.chunks = {{4, 1}, {6, 1}}};
  EXPECT_DOUBLE_EQ(cost(device, StepCostKind::decode_attention, decodes), 2 * (100 + 7));
  device.decode_attention.head_s = 2;
  EXPECT_DOUBLE_EQ(cost(device, StepCostKind::decode_attention, decodes), 2 * (100 + 8));
  ModelShape grouped = tiny_shape();
  grouped.kv_heads = 1;  // two query heads each: half way from 1 to 4
  EXPECT_DOUBLE_EQ(cost(device, StepCostKind::decode_attention, decodes, {}, grouped), 2 * (150 + 2 * 7));
}

TEST(CostModel, ElementwiseOperatorsMoveTheirOperands) {
  DeviceDescription device = free_device();
  device.elementwise.bandwidth = 1;
  // In rows of 8 numbers, twice 2 bytes each: norms 2 x 2, residuals 2 x 3, ReLU 2 x 2, K and V 2 + 2.
  const double layer = 16 * (2 * 2 + 2 * 3 + 2 * 2 + 2 + 2);
  const double embedding = 16 * (2 + 3);  // tokens read and written, positions added
  EXPECT_DOUBLE_EQ(cost(device, StepCostKind::elementwise, {.chunks = {{0, 3}}}),
                   3 * (2 * layer + embedding));
  EXPECT_DOUBLE_EQ(cost(device, StepCostKind::elementwise, {.chunks = {{0, 3}}, .rows = 2}),
                   3 * (2 * layer + embedding) + 2 * 16 * 2);
  // LLaMA: SwiGLU 3 x 2, rotary of q and k 2 x 2, no table of positions.
  const double llama = 16 * (2 * 2 + 2 * 3 + 3 * 2 + 2 * 2 + 2 + 2);
  EXPECT_DOUBLE_EQ(cost(device, StepCostKind::elementwise, {.chunks = {{0, 3}}}, {}, tiny_shape("llama-7b")),
                   3 * (2 * llama + 16 * 2));
  device.elementwise = {.launch_s = 1, .bandwidth = test::kFree};
  EXPECT_DOUBLE_EQ(cost(device, StepCostKind::elementwise, {.chunks = {{0, 3}}, .rows = 2}), 2 * 6 + 2 + 1);
}

TEST(CostModel, SamplingReadsTheLogits) {
  DeviceDescription device = free_device();
  device.sampling = {.launch_s = 100, .row_s = 10, .bandwidth = 400};
  EXPECT_DOUBLE_EQ(cost(device, StepCostKind::sampling, {.chunks = {{0, 3}}, .rows = 2}), 100 + 2 * (10 + 1));
  EXPECT_DOUBLE_EQ(cost(device, StepCostKind::sampling, {.chunks = {{0, 3}}}), 0);
}

TEST(CostModel, BlocksAreSwappedTensorByTensorAndCopiedAtOnce) {
  DeviceDescription device = free_device();
  device.swap_out = {.copy_s = 1, .bandwidth = 1024};  // a block: 16 tokens, 2 layers, 32 bytes
  device.swap_in = {.copy_s = 10, .bandwidth = 512};
  device.elementwise = {.launch_s = 5, .bandwidth = 1024};
  const StepOf moves{.swap_out = 3, .swap_in = 2, .copies = 4};
  EXPECT_DOUBLE_EQ(cost(device, StepCostKind::swap_out, moves), 3 * (4 * 1 + 1));
  EXPECT_DOUBLE_EQ(cost(device, StepCostKind::swap_in, moves), 2 * (4 * 10 + 2));
  EXPECT_DOUBLE_EQ(cost(device, StepCostKind::block_copy, moves), 5 + 4 * 2);
  EXPECT_DOUBLE_EQ(CostModel(device, tiny_shape(), {}).step(batch_of(moves)).total().value(), 15 + 84 + 13);
}

TEST(CostModel, DroppedTokensAreNotReadAndMovedOnesAre) {
  DeviceDescription device = free_device();
  device.decode_attention.bandwidth = 1;
  device.elementwise.bandwidth = 1;
  const CostModel model(device, tiny_shape(), {});
  StepBatch batch;
  batch.chunks = {{.blocks = {}, .first = 1000, .count = 1, .dropped = 900}};
  EXPECT_DOUBLE_EQ(model.step(batch)[StepCostKind::decode_attention], 2 * 32 * 101);
  batch.moves.resize(3);
  EXPECT_DOUBLE_EQ(model.step(batch)[StepCostKind::block_copy], 2 * (2 * 32) * 3);
  batch.weighed = {{.chunk = 0, .positions = {}}};  // K once more
  EXPECT_DOUBLE_EQ(model.step(batch)[StepCostKind::decode_attention], 1.5 * 2 * 32 * 101);
}

TEST(CostModel, OnAStreamOfTheirOwnSwapsWaitForTheSlowerPartLayerByLayer) {
  DeviceDescription device = free_device();
  device.swap_out = {.copy_s = 1, .bandwidth = 1024};  // a block: 1 s, and 4 copies
  device.prefill_attention.launch_s = 3;               // a layer
  const auto step_s = [&](std::size_t blocks, bool overlaps) {
    const StepOf step{.chunks = {{0, 3}}, .swap_out = blocks};
    return CostModel(device, tiny_shape(), {.swap_overlaps = overlaps}).step(batch_of(step)).total().value();
  };
  EXPECT_NEAR(step_s(4, false), 16 + 4 + 6, 1e-6);
  EXPECT_NEAR(step_s(4, true), 16 + 2 + 6, 1e-6);  // one layer's 2 s of transfer, then both layers' 3 s
  EXPECT_NEAR(step_s(10, true), 40 + 10 + 3,
              1e-6);  // both layers' 5 s of transfer, then the last layer's 3 s
  const StepOf swap{.swap_out = 4};
  EXPECT_DOUBLE_EQ(cost(device, StepCostKind::swap_out, swap, {.swap_overlaps = true}), 16 + 4);
}

TEST(CostModel, TensorParallelismDividesTheWorkAndAddsMessages) {
  DeviceDescription device = free_device();
  device.gemm.peak_flops = 1;
  const StepOf step{.chunks = {{0, 3}}, .rows = 2};
  const CostOptions two{.gpus = 2};
  EXPECT_DOUBLE_EQ(cost(device, StepCostKind::linear, step, two),
                   cost(device, StepCostKind::linear, step) / 2);
  EXPECT_DOUBLE_EQ(cost(device, StepCostKind::head, step, two), cost(device, StepCostKind::head, step) / 2);
  device = free_device();
  device.decode_attention.bandwidth = 1;
  EXPECT_DOUBLE_EQ(cost(device, StepCostKind::decode_attention, {.chunks = {{6, 1}}}, two), 2 * 7 * 16);
  device.swap_out.bandwidth = 1;
  EXPECT_DOUBLE_EQ(cost(device, StepCostKind::swap_out, {.swap_out = 1}, two), 512);
  device = free_device();
  EXPECT_DOUBLE_EQ(cost(device, StepCostKind::all_reduce, step), 0);
  device.all_reduce.latency_s = {100, 0};
  device.all_reduce.bandwidth = {2, test::kFree};
  // Two messages a layer of 3 rows of 16 bytes, and the logits of 2 rows.
  EXPECT_DOUBLE_EQ(cost(device, StepCostKind::all_reduce, step, two),
                   2 * 2 * (100 + 48 / 2) + (100 + 400 / 2));
  device.all_reduce.efficiency = {{48, 400}, {0.5, 1}};
  EXPECT_DOUBLE_EQ(cost(device, StepCostKind::all_reduce, step, two),
                   2 * 2 * (100 + 48 / 1) + (100 + 400 / 2));
  device.all_reduce.served_s = {1000, 0};
  EXPECT_DOUBLE_EQ(cost(device, StepCostKind::all_reduce, step, two),
                   2 * 2 * (1100 + 48 / 1) + (1100 + 400 / 2));
}

TEST(CostModel, NamesTheDegreesOfParallelismThatItKnows) {
  ModelShape shape = tiny_shape();
  shape.heads = shape.kv_heads = 8;
  shape.head_size = 1;
  EXPECT_THAT([&] { CostModel(free_device(), shape, {.gpus = 8}); },
              testing::ThrowsMessage<InputError>(
                  testing::AllOf(testing::HasSubstr("device 'free'"), testing::HasSubstr("known: 2, 4"))));
  DeviceDescription alone = free_device();
  alone.all_reduce = {};
  EXPECT_THAT([&] { CostModel(alone, shape, {.gpus = 2}); },
              testing::ThrowsMessage<InputError>(testing::HasSubstr("known: none")));
}

TEST(CostModel, StepAndHostAddTheirShares) {
  DeviceDescription device = free_device();
  device.step = {.fixed_s = 100, .token_s = 1};
  const StepOf step{.chunks = {{0, 3}, {0, 4}, {9, 1}}};
  EXPECT_DOUBLE_EQ(cost(device, StepCostKind::step, step), 108);
  const HostCost host{.step_s = 1000, .sequence_s = 100, .prefill_token_s = 1, .parallel_s = 1e4};
  EXPECT_DOUBLE_EQ(cost(device, StepCostKind::host, step, {.host = host}), 1000 + 3 * 100 + 7);
  EXPECT_DOUBLE_EQ(cost(device, StepCostKind::host, step, {.gpus = 2, .host = host}),
                   1000 + 3 * 100 + 7 + 1e4);
}

TEST(CostModel, TheHostIsPaidOncePerRequestThatDrawsHoweverManySequencesItHas) {
  const HostCost host{.sequence_s = 1, .request_s = 100};
  const StepOf three_of_one{.chunks = {{9, 1}, {9, 1}, {9, 1}}, .rows = 3, .requests = 1};
  const StepOf three{.chunks = {{9, 1}, {9, 1}, {9, 1}}, .rows = 3, .requests = 3};
  EXPECT_DOUBLE_EQ(cost(free_device(), StepCostKind::host, three_of_one, {.host = host}), 3 + 100);
  EXPECT_DOUBLE_EQ(cost(free_device(), StepCostKind::host, three, {.host = host}), 3 + 300);
}

TEST(CostModel, TheHostIsPaidMoreForRequestsThatAreNotGreedyAndForBeamsThatSplit) {
  const HostCost host{.request_s = 100, .draw_s = 1000, .fork_token_s = 1};
  const StepOf step{.chunks = {{9, 1}, {9, 1}, {9, 1}}, .rows = 3, .requests = 3, .greedy = 1, .forked = 7};
  EXPECT_DOUBLE_EQ(cost(free_device(), StepCostKind::host, step, {.host = host}), 300 + 2000 + 7);
}

TEST(CostModel, PaddedChunksAreAsLongAsTheLongest) {
  DeviceDescription device = free_device();
  device.gemm.peak_flops = 1;
  device.prefill_attention.peak_flops = 1;
  device.decode_attention.bandwidth = 1;
  const CostOptions padded{.padded = true};
  for (const auto kind : {StepCostKind::linear, StepCostKind::prefill_attention}) {
    EXPECT_DOUBLE_EQ(cost(device, kind, {.chunks = {{0, 3}, {0, 7}}}, padded),
                     cost(device, kind, {.chunks = {{0, 7}, {0, 7}}}));
  }
  EXPECT_DOUBLE_EQ(cost(device, StepCostKind::decode_attention, {.chunks = {{2, 1}, {9, 1}}}, padded),
                   cost(device, StepCostKind::decode_attention, {.chunks = {{9, 1}, {9, 1}}}));
}

TEST(CostModel, ProjectionsOfANarrowEmbeddingAreProducts) {
  DeviceDescription device = free_device();
  device.gemm.launch_s = 1;
  ModelShape narrow = tiny_shape();
  narrow.embedding_size = 4;
  EXPECT_DOUBLE_EQ(cost(device, StepCostKind::linear, {.chunks = {{0, 3}}}, {}, narrow), 2 * 4 + 1);
  EXPECT_DOUBLE_EQ(cost(device, StepCostKind::head, {.chunks = {{0, 3}}, .rows = 1}, {}, narrow), 2);
}

/// A device with prices and curves on which efficiency grows more slowly than work does.
DeviceDescription priced_device() {
  DeviceDescription d = free_device();
  d.gemm = {.launch_s = 1e-6,
            .overlap = 2,
            .peak_flops = 1e12,
            .bandwidth = 1e11,
            .compute = {{1, 8, 64, 512}, {0.3, 0.5, 0.7, 0.9}},
            .traffic = {{1e3, 1e6}, {0.5, 0.9}}};
  d.prefill_attention = {.launch_s = 1e-6,
                         .longest_s = 1e-8,
                         .sequence_s = 1e-7,
                         .peak_flops = 1e12,
                         .bandwidth = 1e11,
                         .efficiency = {{1, 64, 1024}, {0.2, 0.4, 0.6}}};
  d.decode_attention.head_s = 1e-8;
  d.decode_attention.bandwidth = 1e11;
  d.decode_attention.efficiency = {{1e3, 1e6}, {0.4, 0.8}};
  d.decode_attention.longest_s = {1e-8, 1e-8};
  d.elementwise = {.launch_s = 1e-6, .bandwidth = 1e11};
  d.sampling = {.launch_s = 1e-6, .row_s = 1e-7, .bandwidth = 1e11};
  d.swap_out = d.swap_in = {.copy_s = 1e-6, .bandwidth = 1e10};
  d.step = {.fixed_s = 1e-6, .token_s = 1e-8};
  return d;
}

RC_GTEST_PROP(CostModelProperty, MoreWorkIsNeverCheaper, ()) {
  const CostModel model(priced_device(), tiny_shape(), {.padded = *rc::gen::arbitrary<bool>()});
  const auto chunks = *rc::gen::resize(
      40, rc::gen::container<std::vector<std::pair<std::int32_t, std::int32_t>>>(rc::gen::pair(
              rc::gen::inRange(0, 2000),
              rc::gen::weightedOneOf<std::int32_t>({{3, rc::gen::just(1)}, {1, rc::gen::inRange(2, 300)}}))));
  RC_PRE(!chunks.empty());
  StepOf step{.chunks = chunks, .rows = static_cast<std::size_t>(*rc::gen::inRange(0, 40))};
  const Seconds before = model.step(batch_of(step)).total();
  const auto which = static_cast<std::size_t>(*rc::gen::inRange<int>(0, static_cast<int>(chunks.size())));
  switch (*rc::gen::inRange(0, 5)) {
    case 0:
      step.chunks.push_back({*rc::gen::inRange(0, 2000), *rc::gen::inRange(1, 300)});
      break;
    case 1:
      step.chunks[which].first += *rc::gen::inRange(1, 500);
      break;
    case 2:
      RC_PRE(step.chunks[which].second > 1);
      step.chunks[which].second += *rc::gen::inRange(1, 500);
      break;
    case 3:
      step.rows += 1;
      break;
    default:
      step.copies += 1;
      step.swap_in += 1;
      break;
  }
  RC_ASSERT(model.step(batch_of(step)).total() >= before);
}

}  // namespace
}  // namespace pagelab
