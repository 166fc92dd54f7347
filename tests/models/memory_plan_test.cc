#include "models/memory_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "core/error.h"
#include "models/device_description.h"
#include "models/shard.h"
#include "tests/support/source_dir.h"

namespace pagelab {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

double memory_gib(const std::string& device) {
  return read_device_description(test::source_dir() / "experiments/devices" / (device + ".toml")).memory_gib;
}

TEST(MemoryPlan, GivesTheBlocksOfThePagedAttentionPapersTable1) {
  const auto blocks = [](const char* model, const char* device, int gpus) {
    return plan_memory(*find_shape(model), {.memory_gib = memory_gib(device), .gpus = gpus})
        .device_blocks.value();
  };
  EXPECT_EQ(blocks("opt-13b", "a100-40gb", 1), 984);
  EXPECT_EQ(blocks("opt-66b", "a100-40gb", 4), 605);
  EXPECT_EQ(blocks("opt-175b", "a100-80gb", 8), 3757);
}

TEST(MemoryPlan, AddsUpToTheUsableMemory) {
  const MemoryPlan plan = plan_memory(*find_shape("opt-13b"), {.memory_gib = 39.41});
  EXPECT_EQ(plan.block, Bytes(16 * 819200));
  EXPECT_EQ(plan.weights, find_shape("opt-13b")->weight_bytes(kernels::DType::f16));
  EXPECT_EQ(plan.activations, Bytes(2 * 2 * std::int64_t{2560} * 50272));  // the logits outweigh the layers
  EXPECT_EQ(plan.workspace, Bytes(std::int64_t{1} << 30));
  const Bytes parts =
      plan.weights + plan.activations + plan.workspace + plan.device_blocks.value() * plan.block;
  EXPECT_LE(parts, plan.usable);
  EXPECT_GT(parts + plan.block, plan.usable);
}

TEST(MemoryPlan, CountsSmallBlocksAndLargeOnesByTheirBytes) {
  const auto slots = [](std::int64_t size) {
    const MemoryOptions options{.memory_gib = 39.41, .block_size = Tokens(size)};
    return size * plan_memory(*find_shape("opt-13b"), options).device_blocks.value();
  };
  EXPECT_EQ(slots(1), 15753);
  EXPECT_EQ(slots(256), 15616);
}

TEST(MemoryPlan, SizesTheLayersOfAGatedModelWithASmallVocabulary) {
  const ModelShape& shape = *find_shape("llama-13b");
  const MemoryPlan plan = plan_memory(shape, {.memory_gib = 40, .activation_tokens = Tokens(100)});
  EXPECT_EQ(plan.activations, Bytes(2 * 2 * 100 * (2 * 13824 + 5120)));
}

TEST(MemoryPlan, SwapSpaceIsPerDevice) {
  const ModelShape& shape = *find_shape("opt-66b");
  EXPECT_EQ(plan_host_blocks(shape, {.swap_space_gib = 20, .gpus = 4}),
            Blocks((std::int64_t{20} << 30) / (16 * 2359296 / 4)));
  EXPECT_EQ(plan_host_blocks(shape, {.swap_space_gib = 0, .gpus = 4}), Blocks(0));
}

TEST(MemoryPlan, SaysWhatTakesTheMemoryWhenAModelDoesNotFit) {
  EXPECT_THAT([] { plan_memory(*find_shape("opt-66b"), {.memory_gib = 39.41}); },
              ThrowsMessage<InputError>(HasSubstr(
                  "opt-66b does not fit into 1 device(s) of 39.41 GiB: of 37.44 GiB usable on each, "
                  "weights take 122")));
}

TEST(Shard, OfOneDeviceIsTheWholeModel) {
  for (const ModelShape& shape : builtin_shapes()) {
    EXPECT_EQ(shard_of(shape, 1).parameters(shape), shape.parameters()) << shape.name;
    EXPECT_EQ(shape.layers * shard_of(shape, 1).kv_bytes_per_layer(kernels::DType::f16),
              shape.kv_bytes_per_token(kernels::DType::f16).value())
        << shape.name;
  }
}

TEST(Shard, DividesHeadsFeedForwardAndVocabulary) {
  const ModelShape& shape = *find_shape("opt-66b");
  const Shard shard = shard_of(shape, 4);
  EXPECT_EQ(shard.heads, 18);
  EXPECT_EQ(shard.ffn, 9216);
  EXPECT_EQ(shard.vocab, 12568);
  EXPECT_EQ(shard.qkv_width, 3 * 9216 / 4);
  // Norms, positions and two of the biases are on each device.
  const std::int64_t h = 9216;
  const std::int64_t divided = 50272 * h + 64 * (12 * h * h + 3 * h + 4 * h);
  EXPECT_EQ(shard.parameters(shape), divided / 4 + 2050 * h + 64 * (2 * h + 4 * h) + 2 * h);
}

TEST(Shard, SharesKvHeadsOutWhileThereAreEnough) {
  const ModelShape& shape = *find_shape("llama-2-70b");
  EXPECT_EQ(shard_of(shape, 8).kv_heads, 1);
  EXPECT_EQ(shard_of(shape, 16).kv_heads, 1);
  EXPECT_EQ(shard_of(shape, 16).heads, 4);
}

TEST(Shard, NamesWhatCannotBeDivided) {
  EXPECT_THAT([] { shard_of(*find_shape("opt-13b"), 3); },
              ThrowsMessage<InputError>(HasSubstr("3 devices cannot divide the 40 heads of opt-13b")));
  ModelShape shape = *find_shape("llama-2-70b");
  shape.heads = 48;
  EXPECT_THAT([&] { shard_of(shape, 6); }, ThrowsMessage<InputError>(HasSubstr("feed-forward columns")));
  shape.ffn = 600;
  EXPECT_THAT([&] { shard_of(shape, 6); }, ThrowsMessage<InputError>(HasSubstr("8 KV heads")));
}

}  // namespace
}  // namespace pagelab
