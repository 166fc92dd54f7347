// Paged attention against the reference over random shapes, and the promise that a token's output is the same
// to the bit whatever surrounds it.
#include "kernels/cpu/paged_attention.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "kernels/cpu/kv_cache.h"
#include "kernels/reference/attention.h"
#include "tests/kernels/simd_targets.h"

namespace pagelab::kernels {
namespace {

using cpu::KvCache;
using cpu::PagedAttention;
using cpu::ThreadPool;

constexpr std::int32_t kLayers = 2;
constexpr std::int32_t kLayer = 1;

/// Tokens [first, first + count) of a sequence, in one step.
struct Chunk {
  std::int32_t sequence;
  std::int32_t first;
  std::int32_t count;
};

/// The bits of an output row.
using Bits = std::vector<std::uint32_t>;

/// Sequences whose q, k and v are a function of (sequence, position), served from a cache of NaN.
class Server {
 public:
  Server(KvShape shape, std::int32_t heads, std::vector<std::int32_t> lengths, int threads,
         unsigned table_seed, bool mapped = false)
      : shape_(with_blocks(shape, lengths)),
        heads_(heads),
        pool_(threads),
        cache_(shape_, mapped),
        attention_(pool_) {
    for (std::int32_t block = 0; block < shape_.device_blocks; ++block) {
      std::memset(cache_.block(KvCache::Tier::device, block), 0xff, cache_.block_bytes());
    }
    std::vector<std::int32_t> blocks(static_cast<std::size_t>(shape_.device_blocks));
    std::iota(blocks.begin(), blocks.end(), 0);
    std::shuffle(blocks.begin(), blocks.end(), std::mt19937(table_seed));
    auto next = blocks.begin();
    for (const std::int32_t length : lengths) {
      const std::int32_t count = blocks_of(length);
      tables_.emplace_back(next, next + count);
      next += count;
    }
  }

  /// Writes K and V of the chunks and attends. Gives the rows in order.
  std::vector<Bits> step(const std::vector<Chunk>& chunks) {
    make_batch(chunks);
    std::size_t slots = 0;
    for (const Chunk& chunk : chunks) {
      slots += static_cast<std::size_t>(chunk.first + chunk.count);
    }
    weights_.assign(weighed_.empty() ? 0 : slots, 0.0);
    const AttentionBatch batch = view();
    if (cache_.mapped()) {
      cache_.map(batch);
    }
    cpu::write_kv(cache_, pool_, kLayer, qkv(), heads_, batch);
    out_.assign(positions_.size() * static_cast<std::size_t>(heads_ * shape_.head_size), -1.0f);
    const Tensor out{out_.data(), static_cast<std::int32_t>(positions_.size()), heads_ * shape_.head_size};
    attention_.run(cache_, kLayer, qkv(), heads_, scale(), batch, out);
    std::vector<Bits> rows;
    for (std::int32_t row = 0; row < out.rows; ++row) {
      Bits bits(static_cast<std::size_t>(out.cols));
      std::memcpy(bits.data(), out.row(row), bits.size() * sizeof(float));
      rows.push_back(bits);
    }
    return rows;
  }

  /// V of all tokens from `position` on, from the next step on.
  void make_values_infinite(std::int32_t position) { infinite_from_ = position; }

  /// Asks for the attention weights of all sequences, from the next step on.
  void weigh() { weighs_ = true; }
  /// Adds this to all positions, from the next step on.
  void shift_positions(std::int32_t shift) { shift_ = shift; }
  /// Of all slots of the last step's sequences, one after the other.
  const std::vector<double>& weights() const { return weights_; }

  /// The largest difference of the last step's weights from the reference.
  double weight_error() {
    double worst = 0;
    std::size_t first = 0;
    for (std::size_t sequence = 0; sequence + 1 < query_indptr_.size(); ++sequence) {
      const std::vector<double> expected =
          reference::slot_weights(shape_, load_k(), qkv(), heads_, double{scale()}, view(), sequence);
      for (std::size_t slot = 0; slot < expected.size(); ++slot) {
        const double difference = std::abs(weights_[first + slot] - expected[slot]);
        worst = std::isnan(difference) ? INFINITY : std::max(worst, difference);
      }
      first += expected.size();
    }
    return worst;
  }

  /// The largest difference of the last step's outputs from the reference.
  double error() {
    const auto load_v = [&](std::int32_t block, std::int32_t head, std::int32_t offset, std::int32_t d) {
      return cache_.load_v(KvCache::Tier::device, kLayer, block, head, offset, d);
    };
    const std::vector<double> expected =
        reference::paged_attention(shape_, load_k(), load_v, qkv(), heads_, double{scale()}, view());
    double worst = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      const double difference = std::abs(out_[i] - expected[i]);
      worst = std::isnan(difference) ? INFINITY : std::max(worst, difference);
    }
    return worst;
  }

 private:
  reference::LoadKv load_k() const {
    return [this](std::int32_t block, std::int32_t head, std::int32_t offset, std::int32_t d) {
      return cache_.load_k(KvCache::Tier::device, kLayer, block, head, offset, d);
    };
  }
  std::int32_t blocks_of(std::int32_t length) const {
    return (length + shape_.block_size - 1) / shape_.block_size;
  }
  static KvShape with_blocks(KvShape shape, const std::vector<std::int32_t>& lengths) {
    shape.layers = kLayers;
    for (const std::int32_t length : lengths) {
      shape.device_blocks += (length + shape.block_size - 1) / shape.block_size;
    }
    return shape;
  }
  float scale() const { return 1.0f / std::sqrt(static_cast<float>(shape_.head_size)); }
  Tensor qkv() {
    const std::int32_t columns = (heads_ + 2 * shape_.kv_heads) * shape_.head_size;
    return {qkv_.data(), static_cast<std::int32_t>(positions_.size()), columns};
  }
  AttentionBatch view() {
    return {query_indptr_, kv_indptr_,    kv_indices_, last_block_len_,
            positions_,    slot_mapping_, weighed_,    weights_};
  }

  void make_batch(const std::vector<Chunk>& chunks) {
    query_indptr_ = {0};
    kv_indptr_ = {0};
    kv_indices_.clear();
    last_block_len_.clear();
    positions_.clear();
    slot_mapping_.clear();
    weighed_.clear();
    qkv_.clear();
    for (const Chunk& chunk : chunks) {
      const std::vector<std::int32_t>& table = tables_[static_cast<std::size_t>(chunk.sequence)];
      const std::int32_t context = chunk.first + chunk.count;
      for (std::int32_t position = chunk.first; position < context; ++position) {
        positions_.push_back(position + shift_);
        slot_mapping_.push_back(table[static_cast<std::size_t>(position / shape_.block_size)] *
                                    shape_.block_size +
                                position % shape_.block_size);
        add_row(chunk.sequence, position);
      }
      query_indptr_.push_back(static_cast<std::int32_t>(positions_.size()));
      kv_indices_.insert(kv_indices_.end(), table.begin(), table.begin() + blocks_of(context));
      kv_indptr_.push_back(static_cast<std::int32_t>(kv_indices_.size()));
      last_block_len_.push_back((context - 1) % shape_.block_size + 1);
      if (weighs_) {
        weighed_.push_back(static_cast<std::int32_t>(weighed_.size()));
      }
    }
  }

  void add_row(std::int32_t sequence, std::int32_t position) {
    std::minstd_rand random(static_cast<unsigned>(sequence * 100003 + position + 1));
    random.discard(5);
    const std::int32_t queries = heads_ * shape_.head_size;
    const std::int32_t keys = shape_.kv_heads * shape_.head_size;
    for (std::int32_t i = 0; i < queries + 2 * keys; ++i) {
      const float value = static_cast<float>(random()) / static_cast<float>(std::minstd_rand::max()) * 2 - 1;
      qkv_.push_back(i < queries ? value * 6 : value);
      if (i >= queries + keys && position >= infinite_from_) {
        qkv_.back() = std::numeric_limits<float>::infinity();
      }
    }
  }

  KvShape shape_;
  std::int32_t heads_;
  ThreadPool pool_;
  KvCache cache_;
  PagedAttention attention_;
  std::vector<std::vector<std::int32_t>> tables_;
  std::vector<std::int32_t> query_indptr_, kv_indptr_, kv_indices_, last_block_len_, positions_,
      slot_mapping_, weighed_;
  bool weighs_ = false;
  std::vector<double> weights_;
  std::int32_t shift_ = 0;
  std::int32_t infinite_from_ = std::numeric_limits<std::int32_t>::max();
  std::vector<float> qkv_;
  std::vector<float> out_;
};

KvShape shape_of(std::int32_t kv_heads, std::int32_t head_size, std::int32_t block_size, DType dtype) {
  KvShape shape;
  shape.kv_heads = kv_heads;
  shape.head_size = head_size;
  shape.block_size = block_size;
  shape.dtype = dtype;
  return shape;
}

RC_GTEST_PROP(PagedAttention, MatchesTheReferenceOnEveryTarget, ()) {
  const auto kv_heads = *rc::gen::inRange(1, 4);
  const auto group = *rc::gen::inRange(1, 9);
  const auto head_size = *rc::gen::element(64, 72, 80, 96, 128, 256);
  const auto block_size =
      *rc::gen::oneOf(rc::gen::element(1, 2, 8, 16, 32, 64, 128, 256), rc::gen::inRange(1, 257));
  const auto dtype = *rc::gen::element(DType::f32, DType::bf16, DType::f16);
  const auto threads = *rc::gen::inRange(1, 4);
  const auto sequences = *rc::gen::inRange(1, 4);
  const KvShape shape = shape_of(kv_heads, head_size, block_size, dtype);
  std::vector<std::int32_t> lengths;
  std::vector<Chunk> prefixes;
  std::vector<Chunk> chunks;
  for (std::int32_t sequence = 0; sequence < sequences; ++sequence) {
    const auto prefix = *rc::gen::weightedOneOf<std::int32_t>(
        {{3, rc::gen::just(0)}, {6, rc::gen::inRange(0, 40)}, {2, rc::gen::inRange(0, 600)}});
    const auto count = *rc::gen::oneOf(rc::gen::just(1), rc::gen::inRange(1, 30));
    if (prefix > 0) {
      prefixes.push_back({sequence, 0, prefix});
    }
    chunks.push_back({sequence, prefix, count});
    lengths.push_back(prefix + count);
  }
  const auto table_seed = *rc::gen::arbitrary<unsigned>();
  const bool weighed = *rc::gen::inRange(0, 3) == 0;
  for_each_simd_target([&] {
    Server server(shape, kv_heads * group, lengths, threads, table_seed);
    server.step(prefixes);
    if (weighed) {
      server.weigh();
    }
    server.step(chunks);
    RC_ASSERT(server.error() < 2e-5);
    if (weighed) {
      RC_ASSERT(server.weight_error() < 1e-4);
    }
  });
}

TEST(PagedAttention, WeightsAddUpToTheSameHoweverASequenceIsCutIntoChunks) {
  for_each_simd_target([] {
    const auto sums = [](const std::vector<std::int32_t>& cuts, std::int32_t block_size, int threads) {
      Server server(shape_of(2, 64, block_size, DType::bf16), 6, {600}, threads, 3);
      server.weigh();
      std::vector<double> sum(600);
      for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
        server.step({{0, cuts[i], cuts[i + 1] - cuts[i]}});
        for (std::size_t slot = 0; slot < server.weights().size(); ++slot) {
          sum[slot] += server.weights()[slot];
        }
      }
      return sum;
    };
    const std::vector<double> whole = sums({0, 600}, 16, 1);
    EXPECT_NEAR(std::accumulate(whole.begin(), whole.end(), 0.0), 6 * 600, 0.1)
        << "each query gives 1 a head";
    EXPECT_EQ(sums({0, 600}, 7, 3), whole);
    EXPECT_EQ(sums({0, 37, 38, 39, 255, 256, 400, 599, 600}, 16, 2), whole);
  });
}

TEST(PagedAttention, AContextIsWhatTheTableHoldsWhateverThePositions) {
  Server server(shape_of(1, 64, 16, DType::f32), 2, {40}, 1, 1);
  Server shifted(shape_of(1, 64, 16, DType::f32), 2, {40}, 1, 1);
  shifted.shift_positions(1000);
  EXPECT_EQ(server.step({{0, 0, 30}}), shifted.step({{0, 0, 30}}));
  EXPECT_EQ(server.step({{0, 30, 1}}), shifted.step({{0, 30, 1}}));
}

TEST(PagedAttention, MappedBlocksGiveTheSameBitsAsATable) {
  const std::vector<Chunk> prefill = {{0, 0, 300}, {1, 0, 17}, {2, 0, 64}};
  const std::vector<Chunk> decode = {{2, 64, 1}, {0, 300, 1}, {1, 17, 20}};
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const std::int32_t block_size : {16, 32, 128}) {  // pages of 4 KiB to 64 KiB
      const KvShape shape = shape_of(2, 64, block_size, dtype);
      for_each_simd_target([&] {
        Server paged(shape, 4, {301, 37, 65}, 2, 5);
        Server mapped(shape, 4, {301, 37, 65}, 2, 5, true);
        EXPECT_EQ(mapped.step(prefill), paged.step(prefill));
        EXPECT_EQ(mapped.step(decode), paged.step(decode));
        EXPECT_LT(mapped.error(), 2e-5);
      });
    }
  }
}

TEST(PagedAttention, AnEmptyBatchIsANoOp) {
  Server server(shape_of(1, 64, 16, DType::f32), 1, {1}, 2, 1);
  EXPECT_TRUE(server.step({}).empty());
}

TEST(PagedAttention, TheOnlyTokenOfASequenceGetsItsOwnValue) {
  for_each_simd_target([] {
    Server server(shape_of(1, 64, 16, DType::f32), 1, {1}, 1, 1);
    server.step({{0, 0, 1}});
    EXPECT_LT(server.error(), 1e-7);
  });
}

/// How a sequence of `length` tokens is computed: the sizes of its chunks, in order, repeated.
struct Way {
  const char* name;
  std::vector<std::int32_t> chunk_sizes;
  std::int32_t block_size;
  int threads;
  std::int32_t companions;  ///< other sequences in each batch
};

std::vector<Bits> rows_of(const Way& way, std::int32_t kv_heads, std::int32_t group, std::int32_t head_size,
                          DType dtype, std::int32_t length) {
  std::vector<std::int32_t> lengths(static_cast<std::size_t>(way.companions) + 1, length);
  Server server(shape_of(kv_heads, head_size, way.block_size, dtype), kv_heads * group, lengths, way.threads,
                static_cast<unsigned>(way.block_size));
  std::vector<Bits> rows;
  std::size_t turn = 0;
  for (std::int32_t done = 0; done < length; ++turn) {
    const std::int32_t count = std::min(way.chunk_sizes[turn % way.chunk_sizes.size()], length - done);
    std::vector<Chunk> chunks;
    for (std::int32_t other = 1; other <= way.companions; ++other) {
      chunks.push_back({other, done, other % 2 == 0 ? count : 1});
    }
    const auto place = static_cast<std::ptrdiff_t>(turn) % (way.companions + 1);
    chunks.insert(chunks.begin() + place, {0, done, count});
    const std::vector<Bits> out = server.step(chunks);
    std::ptrdiff_t first = 0;
    for (std::ptrdiff_t i = 0; i < place; ++i) {
      first += chunks[static_cast<std::size_t>(i)].count;
    }
    rows.insert(rows.end(), out.begin() + first, out.begin() + first + count);
    done += count;
  }
  return rows;
}

struct HeadsCase {
  std::int32_t kv_heads;
  std::int32_t group;
  std::int32_t head_size;
  DType dtype;
};

class PagedAttentionBits : public testing::TestWithParam<HeadsCase> {};

TEST_P(PagedAttentionBits, DependOnNothingButTheSequence) {
  const HeadsCase& c = GetParam();
  constexpr std::int32_t kLength = 531;  // three partitions
  const std::vector<Way> ways = {
      {"whole prompt, 2 threads", {kLength}, 16, 2, 0},
      {"whole prompt in blocks of 1", {kLength}, 1, 1, 0},
      {"chunks, blocks of 7", {37, 1, 2, 128, 5}, 7, 1, 0},
      {"chunks in a crowd, blocks of 128", {64, 3, 200}, 128, 2, 2},
      {"decodes, blocks of 16", {250, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 260, 1}, 16, 1, 0},
      {"decodes, blocks of 24, 2 threads", {250, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 260, 1}, 24, 2, 0},
      {"decodes in a crowd, blocks of 256", {15, 1, 1, 1, 400, 1}, 256, 2, 2},
  };
  for_each_simd_target([&] {
    const std::vector<Bits> alone =
        rows_of({"whole prompt", {kLength}, 16, 1, 0}, c.kv_heads, c.group, c.head_size, c.dtype, kLength);
    for (const Way& way : ways) {
      const std::vector<Bits> rows = rows_of(way, c.kv_heads, c.group, c.head_size, c.dtype, kLength);
      ASSERT_EQ(rows.size(), alone.size());
      for (std::size_t position = 0; position < rows.size(); ++position) {
        ASSERT_EQ(rows[position], alone[position]) << way.name << ", position " << position;
      }
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Shapes, PagedAttentionBits,
                         testing::Values(HeadsCase{3, 1, 64, DType::bf16}, HeadsCase{5, 1, 72, DType::f16},
                                         HeadsCase{2, 4, 128, DType::bf16}, HeadsCase{1, 7, 80, DType::f32},
                                         HeadsCase{2, 1, 256, DType::f32}, HeadsCase{1, 8, 96, DType::bf16}),
                         [](const auto& heads) {
                           return "group" + std::to_string(heads.param.group) + "_head" +
                                  std::to_string(heads.param.head_size) + "_" +
                                  std::string(name_of(heads.param.dtype));
                         });

TEST(PagedAttention, ALaterTokenDoesNotReachAnEarlierOneEvenIfItIsInfinite) {
  for_each_simd_target([] {
    const auto rows = [](std::int32_t infinite_from) {
      Server server(shape_of(1, 64, 16, DType::f32), 2, {40}, 1, 1);
      server.make_values_infinite(infinite_from);
      return server.step({{0, 0, 40}});
    };
    const std::vector<Bits> finite = rows(40);
    const std::vector<Bits> mixed = rows(21);
    for (std::size_t position = 0; position < 40; ++position) {
      EXPECT_EQ(mixed[position] == finite[position], position < 21) << position;
    }
  });
}

}  // namespace
}  // namespace pagelab::kernels
