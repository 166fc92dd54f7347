// Calibration: what is measured on a backend whose times are known, and the description made of it.
#include "experiments/calibrate/calibration.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "experiments/calibrate/least_squares.h"
#include "models/cost_model.h"
#include "tests/experiments/known_ops.h"
#include "tests/support/source_dir.h"

namespace pagelab {
namespace {

using kernels::OpKind;
using test::KnownOps;
using test::product_cost;
using ::testing::DoubleNear;
using ::testing::ElementsAre;

Backend known_backend(bool queues) {
  return {.make = [=] { return std::make_unique<KnownOps>(queues); }, .queues = queues};
}

const std::string tiny = (test::source_dir() / "tests/golden/gpt2").string();

MeasureOptions quick_options() {
  return {.kv_bytes = 1 << 20, .most_rows = 256, .rounds = 2, .quick = true};
}

TEST(Measuring, GivesEachOperatorOfAStepItsShapeAndItsTime) {
  for (const bool queues : {false, true}) {
    const ModelTimes times = measure_model(tiny, known_backend(queues), quick_options());
    ASSERT_FALSE(times.steps.empty());
    for (const StepTimes& step : times.steps) {
      int products = 0;
      bool head = false;
      for (const auto& [call, calls] : step.operators) {
        if (call.kind == OpKind::linear) {
          const double known = product_cost(static_cast<double>(call.rows), static_cast<double>(call.cols),
                                            static_cast<double>(call.inner));
          EXPECT_NEAR(call.seconds, known, 1e-9 * known);
          products += calls;
          head |=
              call.cols == times.shape.vocab && call.rows == static_cast<std::int64_t>(step.chunks.size());
        }
      }
      EXPECT_EQ(products, 4 * times.shape.layers + 1);
      EXPECT_TRUE(head) << "the logits are made of the sampled rows";
      EXPECT_NEAR(step.seconds_in(OpKind::sampling), 1e-6 * static_cast<double>(step.chunks.size()), 1e-12);
      EXPECT_NEAR(step.seconds_in(OpKind::kv_write), 1e-6 * times.shape.layers, 1e-12);
      EXPECT_GT(step.seconds, 0);
    }
  }
}

TEST(Measuring, KeepsToThePositionsAndTheBlocksThatThereAre) {
  MeasureOptions options;
  options.kv_bytes = std::int64_t{256} << 20;
  for (const char* name : {"opt-125m", "gpt2", "llama-2-7b"}) {
    const ModelShape& shape = *find_shape(name);
    const auto grid = step_grid(shape, options);
    const auto is_decode = [](const ChunkShape& chunk) { return chunk.count == 1; };
    EXPECT_TRUE(
        std::ranges::any_of(grid, [&](const auto& step) { return std::ranges::all_of(step, is_decode); }));
    EXPECT_TRUE(
        std::ranges::any_of(grid, [&](const auto& step) { return std::ranges::none_of(step, is_decode); }));
    for (const auto& step : grid) {
      std::int64_t slots = 0;
      for (const ChunkShape& chunk : step) {
        slots += chunk.first + chunk.count;
        EXPECT_LE(chunk.first + chunk.count, shape.max_positions);
      }
      EXPECT_LE(slots * shape.kv_bytes_per_token(options.kv_dtype).value(), options.kv_bytes);
    }
  }
}

TEST(Measuring, CountsWhatBlockMovesTake) {
  const ModelShape& shape = *find_shape("opt-125m");
  for (const MoveTime& move : measure_moves(shape, known_backend(true), quick_options())) {
    EXPECT_EQ(move.layers, shape.layers);
    EXPECT_NEAR(move.out_s, 1e-6 * static_cast<double>(move.blocks), 1e-12);
    EXPECT_NEAR(move.in_s, 2e-6 * static_cast<double>(move.blocks), 1e-12);
  }
}

DeviceDescription known_device() {
  DeviceDescription d;
  d.name = "known";
  d.source = "made up";
  d.memory_gib = 16;
  d.gemm = {.launch_s = 2e-6,
            .overlap = 3,
            .peak_flops = 1e11,
            .bandwidth = 2e10,
            .compute = {{1, 8, 64, 512}, {0.9, 0.6, 0.8, 1}},
            .traffic = {{1e6, 4e6, 8e7}, {0.8, 0.9, 1}}};
  d.decode_attention = {.head_s = 1e-8,
                        .bandwidth = 1e10,
                        .efficiency = {{1e5, 1e6, 1e8}, {0.7, 0.9, 1}},
                        .block_factor = {{1, 16, 256}, {2, 1, 0.9}},
                        .group_sizes = {1},
                        .launch_s = {1e-6},
                        .longest_s = {0}};
  d.prefill_attention = {
      .launch_s = 1e-6, .peak_flops = 5e10, .bandwidth = 1e10, .efficiency = {{8, 64, 1024}, {0.5, 0.7, 1}}};
  d.elementwise = {.launch_s = 1e-6, .bandwidth = 1e10};
  d.sampling = {.launch_s = 5e-6, .row_s = 0, .bandwidth = 2e9};
  d.swap_out = {.copy_s = 1e-6, .bandwidth = 1e10};
  d.swap_in = {.copy_s = 2e-6, .bandwidth = 8e9};
  d.step = {.fixed_s = 1e-4, .token_s = 1e-7, .trims_last_layer = true};
  return d;
}

void add_products(const CostModel& cost, const ModelShape& shape, std::int64_t tokens, std::int64_t sampled,
                  StepTimes& step) {
  const auto add = [&](std::int64_t m, std::int64_t n, std::int64_t k, int calls) {
    step.operators.push_back({{OpKind::linear, m, n, k, cost.product_s(m, n, k)}, calls});
  };
  const int last = shape.layers - 1;
  add(tokens, shape.qkv_width(), shape.hidden, shape.layers);
  for (const auto& [rows, layers] : {std::pair(tokens, last), std::pair(sampled, 1)}) {
    add(rows, shape.hidden, shape.query_width(), layers);
    add(rows, shape.ffn, shape.hidden, layers);
    add(rows, shape.hidden, shape.ffn, layers);
  }
  add(sampled, shape.vocab, shape.hidden, 1);
}

/// What would be measured on a device that behaves as `device` says.
Measurements measurements_of(const DeviceDescription& device, const std::vector<std::string>& models) {
  const MeasureOptions options;
  Measurements measured{.smallest_product_s = device.gemm.launch_s};
  for (const std::string& name : models) {
    const ModelShape& shape = *find_shape(name);
    const CostModel cost(device, shape, {.dtype = measured.weight_dtype, .kv_dtype = measured.kv_dtype});
    ModelTimes& times = measured.models.emplace_back();
    times.shape = shape;
    for (const auto& chunks : step_grid(shape, options)) {
      StepBatch batch;
      std::int64_t tokens = 0;
      for (const ChunkShape& chunk : chunks) {
        batch.chunks.push_back({.blocks = {}, .first = chunk.first, .count = chunk.count});
        batch.samples.emplace_back();
        tokens += chunk.count;
      }
      const OpCosts costs = cost.step(batch);
      StepTimes& step = times.steps.emplace_back();
      step.chunks = chunks;
      step.seconds = costs.total().value();
      step.other_s = costs[StepCostKind::step];
      const auto put = [&](OpKind kind, double seconds) {
        step.operators.push_back({{kind, 1, 1, 0, seconds}, 1});
      };
      put(OpKind::attention, costs[StepCostKind::prefill_attention] + costs[StepCostKind::decode_attention]);
      put(OpKind::norm, costs[StepCostKind::elementwise]);
      put(OpKind::sampling, costs[StepCostKind::sampling]);
      add_products(cost, shape, tokens, static_cast<std::int64_t>(chunks.size()), step);
    }
  }
  for (const std::int32_t block_size : {1, 16, 256}) {
    measured.attention_by_block_size.push_back(
        {block_size, 1'000'000, 1e-4 * device.decode_attention.block_factor.at(block_size)});
  }
  const CostModel cost(device, *find_shape("opt-125m"), {.kv_dtype = measured.kv_dtype});
  const std::int64_t block_bytes = find_shape("opt-125m")->kv_bytes_per_token(measured.kv_dtype).value() * 16;
  measured.moves = {{12, block_bytes, 10, cost.swap_out_s(10), cost.swap_in_s(10)},
                    {12, 4 * block_bytes, 10, 10 * (24e-6 + 4 * static_cast<double>(block_bytes) / 1e10),
                     10 * (48e-6 + 4 * static_cast<double>(block_bytes) / 8e9)}};
  return measured;
}

TEST(Calibration, PredictsTheStepsThatItWasMadeFrom) {
  const Measurements measured = measurements_of(known_device(), {"opt-125m", "gpt2"});
  const DeviceDescription found = describe(measured, {"found", "a test", 16});
  for (const StepError& error : step_errors(measured, found)) {
    EXPECT_NEAR(error.relative(), 0, 0.02)
        << error.model << ", " << error.measured.chunks.size() << " chunks of "
        << error.measured.chunks.front().count << " after " << error.measured.chunks.front().first;
  }
}

TEST(Calibration, PredictsABatchBetweenThoseThatWereMeasured) {
  const DeviceDescription known = known_device();
  const DeviceDescription found = describe(measurements_of(known, {"opt-125m"}), {"found", "a test", 16});
  const CostOptions options{.dtype = kernels::DType::bf16, .kv_dtype = kernels::DType::bf16};
  const ModelShape& shape = *find_shape("opt-125m");
  for (const std::size_t decodes : {5u, 20u, 50u}) {
    for (const std::int32_t prompt : {40, 200, 700}) {
      StepBatch batch;
      batch.chunks.assign(decodes, {.blocks = {}, .first = 300, .count = 1});
      batch.chunks.push_back({.blocks = {}, .first = 0, .count = prompt});
      batch.samples.resize(batch.chunks.size());
      const double truth = CostModel(known, shape, options).step(batch).total().value();
      EXPECT_NEAR(CostModel(found, shape, options).step(batch).total().value() / truth, 1, 0.04)
          << decodes << " decodes and a prompt of " << prompt;
    }
  }
}

TEST(Calibration, FindsTheCostsThatAreNoCurves) {
  const DeviceDescription known = known_device();
  const DeviceDescription found =
      describe(measurements_of(known, {"opt-125m", "llama-110m"}), {"found", "a test", 16});
  EXPECT_EQ(found.name, "found");
  EXPECT_EQ(found.memory_gib, 16);
  EXPECT_EQ(found.gemm.launch_s, known.gemm.launch_s);
  EXPECT_NEAR(found.elementwise.launch_s, 1e-6, 1e-9);
  EXPECT_NEAR(found.elementwise.bandwidth / 1e10, 1, 1e-6);
  EXPECT_NEAR(found.sampling.launch_s, 5e-6, 1e-9);
  EXPECT_NEAR(found.sampling.bandwidth / 2e9, 1, 1e-6);
  EXPECT_NEAR(found.swap_out.copy_s, 1e-6, 1e-9);
  EXPECT_NEAR(found.swap_in.bandwidth / 8e9, 1, 1e-6);
  EXPECT_NEAR(found.step.fixed_s, 1e-4, 1e-8);
  EXPECT_NEAR(found.step.token_s, 1e-7, 1e-11);
  EXPECT_THAT(found.decode_attention.block_factor.y,
              ElementsAre(DoubleNear(2, 1e-9), 1, DoubleNear(0.9, 1e-9)));
}

TEST(Calibration, GivesADescriptionThatReadsBack) {
  const DeviceDescription found =
      describe(measurements_of(known_device(), {"opt-125m"}), {"found", "a test", 16});
  const std::string text = device_description_toml(found);
  EXPECT_EQ(device_description_toml(resolve_device_description(parse_config(text, "found.toml"))), text);
}

TEST(LeastSquares, GivesBackTheCoefficients) {
  std::vector<Observation<3>> observations;
  for (const double x : {1.0, 2.0, 5.0, 9.0}) {
    const double value = 3 + 2 * x + 0.5 * x * x;
    observations.push_back({{1, x, x * x}, value, value});
  }
  EXPECT_THAT(nonnegative_least_squares<3>(observations),
              ElementsAre(DoubleNear(3, 1e-9), DoubleNear(2, 1e-9), DoubleNear(0.5, 1e-9)));
}

TEST(LeastSquares, NeverGoesBelowZero) {
  std::vector<Observation<2>> observations;
  for (const double x : {1.0, 2.0, 3.0}) {
    observations.push_back({{1, x}, 2 * x - 1, 1});  // the line through them has the offset -1
  }
  const auto [offset, slope] = nonnegative_least_squares<2>(observations);
  EXPECT_EQ(offset, 0);
  EXPECT_NEAR(slope, 22.0 / 14, 1e-9);  // sum of x y over sum of x x
}

TEST(LeastSquares, LeavesOutWhatTheOthersExplain) {
  const std::vector<Observation<2>> observations = {{{2, 4}, 2, 1}, {{3, 6}, 3, 1}};
  EXPECT_THAT(nonnegative_least_squares<2>(observations), ElementsAre(DoubleNear(1, 1e-9), 0));
}

TEST(Median, IsTheMiddleValueOrTheMeanOfTheTwo) {
  EXPECT_EQ(median({5, 1, 3}), 3);
  EXPECT_EQ(median({4, 1, 3, 2}), 2.5);
}

}  // namespace
}  // namespace pagelab
