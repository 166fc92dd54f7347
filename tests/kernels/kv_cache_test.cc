// The KV cache: what write_kv puts where, rounding, and block traffic between and within the tiers.
#include "kernels/cpu/kv_cache.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <stdexcept>
#include <vector>

#include "kernels/cpu/block_copy.h"

namespace pagelab::kernels {
namespace {

using cpu::KvCache;
using cpu::ThreadPool;
using Tier = KvCache::Tier;

/// A value that names its place, exact in every storage type.
float place_value(std::int32_t a, std::int32_t b, std::int32_t c, std::int32_t d) {
  return static_cast<float>((a * 131 + b * 37 + c * 11 + d) % 251);
}

KvShape small_shape(std::int32_t block_size, DType dtype) {
  return {.layers = 2,
          .kv_heads = 3,
          .head_size = 72,
          .block_size = block_size,
          .dtype = dtype,
          .device_blocks = 6,
          .host_blocks = 4};
}

RC_GTEST_PROP(KvCache, EverySlotHoldsWhatWasWrittenAndNothingElseChanges, ()) {
  const auto block_size = *rc::gen::element(1, 3, 7, 8, 16, 24, 32, 128);
  const auto dtype = *rc::gen::element(DType::f32, DType::bf16, DType::f16);
  const auto layer = *rc::gen::inRange(0, 2);
  const auto heads = *rc::gen::inRange(1, 3) * 3;
  const KvShape shape = small_shape(block_size, dtype);
  const std::int32_t slots = shape.device_blocks * block_size;
  std::vector<std::int32_t> slot_mapping(static_cast<std::size_t>(slots));
  std::iota(slot_mapping.begin(), slot_mapping.end(), 0);
  std::shuffle(slot_mapping.begin(), slot_mapping.end(), std::mt19937(*rc::gen::arbitrary<unsigned>()));
  slot_mapping.resize(static_cast<std::size_t>(*rc::gen::inRange(0, std::min(slots, 40) + 1)));

  const std::int32_t columns = (heads + 2 * shape.kv_heads) * shape.head_size;
  std::vector<float> rows(slot_mapping.size() * static_cast<std::size_t>(columns));
  const Tensor qkv{rows.data(), static_cast<std::int32_t>(slot_mapping.size()), columns};
  for (std::int32_t token = 0; token < qkv.rows; ++token) {
    for (std::int32_t i = 0; i < columns; ++i) {
      qkv.row(token)[i] = place_value(token, 0, 0, i) + 1;
    }
  }
  ThreadPool pool(2);
  KvCache cache(shape);
  AttentionBatch batch;
  batch.slot_mapping = slot_mapping;
  cpu::write_kv(cache, pool, layer, qkv, heads, batch);

  std::vector<std::int32_t> writer(static_cast<std::size_t>(slots), -1);
  for (std::size_t token = 0; token < slot_mapping.size(); ++token) {
    writer[static_cast<std::size_t>(slot_mapping[token])] = static_cast<std::int32_t>(token);
  }
  for (std::int32_t slot = 0; slot < slots; ++slot) {
    const std::int32_t token = writer[static_cast<std::size_t>(slot)];
    for (std::int32_t head = 0; head < shape.kv_heads; ++head) {
      for (std::int32_t d = 0; d < shape.head_size; ++d) {
        const std::int32_t k = (heads + head) * shape.head_size + d;
        const std::int32_t v = k + shape.kv_heads * shape.head_size;
        const std::int32_t block = slot / block_size;
        const std::int32_t offset = slot % block_size;
        RC_ASSERT(cache.load_k(Tier::device, layer, block, head, offset, d) ==
                  (token < 0 ? 0 : qkv.row(token)[k]));
        RC_ASSERT(cache.load_v(Tier::device, layer, block, head, offset, d) ==
                  (token < 0 ? 0 : qkv.row(token)[v]));
        RC_ASSERT(cache.load_k(Tier::device, 1 - layer, block, head, offset, d) == 0);
      }
    }
  }
}

TEST(KvCache, WritingRoundsToNearestEven) {
  struct Case {
    DType dtype;
    float value;
    float stored;
  };
  const float infinity = std::numeric_limits<float>::infinity();
  const std::vector<Case> cases = {
      {DType::bf16, 0x1.01p0f, 0x1.00p0f},     {DType::bf16, 0x1.03p0f, 0x1.04p0f},
      {DType::bf16, 0x1.010002p0f, 0x1.02p0f}, {DType::bf16, std::numeric_limits<float>::max(), infinity},
      {DType::f16, 0x1.002p0f, 0x1.000p0f},    {DType::f16, 0x1.006p0f, 0x1.008p0f},
      {DType::f16, 65520.0f, infinity},        {DType::f16, -65519.0f, -65504.0f},
      {DType::f16, 0x1.8p-25f, 0x1p-24f},      {DType::f32, 0x1.000002p0f, 0x1.000002p0f},
  };
  for (const Case& c : cases) {
    KvShape shape = small_shape(16, c.dtype);
    shape.kv_heads = 1;
    std::vector<float> row(static_cast<std::size_t>(3 * shape.head_size), c.value);
    const std::vector<std::int32_t> slots = {17};
    AttentionBatch batch;
    batch.slot_mapping = slots;
    ThreadPool pool(1);
    KvCache cache(shape);
    cpu::write_kv(cache, pool, 0, {row.data(), 1, 3 * shape.head_size}, 1, batch);
    EXPECT_EQ(cache.load_k(Tier::device, 0, 1, 0, 1, 5), c.stored) << c.value;
    EXPECT_EQ(cache.load_v(Tier::device, 0, 1, 0, 1, 5), c.stored) << c.value;
  }
}

void fill(KvCache& cache, Tier tier, std::int32_t block, std::int32_t mark) {
  const KvShape& shape = cache.shape();
  for (std::int32_t layer = 0; layer < shape.layers; ++layer) {
    for (std::int32_t head = 0; head < shape.kv_heads; ++head) {
      for (std::int32_t slot = 0; slot < shape.block_size; ++slot) {
        for (std::int32_t d = 0; d < shape.head_size; ++d) {
          cache.store_k(tier, layer, block, head, slot, d, place_value(mark, layer, head * 5 + slot, d));
          cache.store_v(tier, layer, block, head, slot, d, place_value(mark, layer, head * 5 + slot, d + 7));
        }
      }
    }
  }
}

bool holds(const KvCache& cache, Tier tier, std::int32_t block, std::int32_t mark) {
  const KvShape& shape = cache.shape();
  for (std::int32_t layer = 0; layer < shape.layers; ++layer) {
    for (std::int32_t head = 0; head < shape.kv_heads; ++head) {
      for (std::int32_t slot = 0; slot < shape.block_size; ++slot) {
        for (std::int32_t d = 0; d < shape.head_size; ++d) {
          if (cache.load_k(tier, layer, block, head, slot, d) !=
                  place_value(mark, layer, head * 5 + slot, d) ||
              cache.load_v(tier, layer, block, head, slot, d) !=
                  place_value(mark, layer, head * 5 + slot, d + 7)) {
            return false;
          }
        }
      }
    }
  }
  return true;
}

class BlockTraffic : public testing::TestWithParam<DType> {
 protected:
  BlockTraffic() {
    for (std::int32_t block = 0; block < 6; ++block) {
      fill(cache_, Tier::device, block, block + 1);
    }
  }
  ThreadPool pool_{2};
  KvCache cache_{small_shape(7, GetParam())};
};

TEST_P(BlockTraffic, ABlockSwappedOutAndInElsewhereIsTheSameInAllLayers) {
  cpu::swap_out(cache_, pool_, std::vector<BlockCopy>{{5, 0}, {2, 3}});
  fill(cache_, Tier::device, 5, 90);
  fill(cache_, Tier::device, 2, 91);
  cpu::swap_in(cache_, pool_, std::vector<BlockCopy>{{3, 0}, {0, 4}});
  EXPECT_TRUE(holds(cache_, Tier::device, 0, 3));
  EXPECT_TRUE(holds(cache_, Tier::device, 4, 6));
  EXPECT_TRUE(holds(cache_, Tier::device, 1, 2));
  EXPECT_TRUE(holds(cache_, Tier::device, 5, 90));
  EXPECT_FALSE(holds(cache_, Tier::host, 1, 3));
}

TEST_P(BlockTraffic, CopiesLeaveTheSourceAndTheNeighboursAlone) {
  cpu::copy_blocks(cache_, pool_, std::vector<BlockCopy>{{0, 3}, {0, 4}});
  for (const auto& [block, mark] :
       std::vector<std::pair<int, int>>{{0, 1}, {1, 2}, {2, 3}, {3, 1}, {4, 1}, {5, 6}}) {
    EXPECT_TRUE(holds(cache_, Tier::device, block, mark)) << block;
  }
}

TEST_P(BlockTraffic, AnEmptyListIsANoOp) {
  cpu::copy_blocks(cache_, pool_, {});
  EXPECT_TRUE(holds(cache_, Tier::device, 0, 1));
}

INSTANTIATE_TEST_SUITE_P(DTypes, BlockTraffic, testing::Values(DType::f32, DType::bf16, DType::f16),
                         [](const auto& dtype) { return std::string(name_of(dtype.param)); });

TEST(KvCache, BlocksTakeTheBytesThatTheShapeSays) {
  for (const std::int32_t block_size : {1, 7, 16, 256}) {
    const KvShape shape = small_shape(block_size, DType::bf16);
    EXPECT_EQ(static_cast<std::int64_t>(KvCache(shape).block_bytes()), shape.block_bytes());
  }
}

TEST(KvCache, RefusesAShapeThatIsNotOne) {
  const auto with = [](auto change) {
    KvShape shape = small_shape(16, DType::f32);
    change(shape);
    return shape;
  };
  EXPECT_THROW(KvCache(with([](KvShape& s) { s.block_size = 0; })), std::invalid_argument);
  EXPECT_THROW(KvCache(with([](KvShape& s) { s.block_size = 257; })), std::invalid_argument);
  EXPECT_THROW(KvCache(with([](KvShape& s) { s.head_size = 68; })), std::invalid_argument);
  EXPECT_THROW(KvCache(with([](KvShape& s) { s.kv_heads = 0; })), std::invalid_argument);
  EXPECT_THROW(KvCache(with([](KvShape& s) { s.host_blocks = -1; })), std::invalid_argument);
}

}  // namespace
}  // namespace pagelab::kernels
