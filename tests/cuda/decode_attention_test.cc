// Decode attention against the reference over random shapes, splits and schedules, and against itself over
// contiguous KV.
#include "kernels/cuda/decode_attention.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>
#include <stdexcept>
#include <vector>

#include "tests/cuda/paged_case.h"

namespace pagelab::testing {
namespace {

/// Work for the decode kernels: items, merges and a workspace in device memory.
class Work {
 public:
  Work(std::vector<cuda::DecodeItem> items, std::vector<cuda::MergeItem> merges, std::int32_t partials,
       const PagedCase& paged)
      : items_(items),
        merges_(merges),
        workspace_(static_cast<std::size_t>(
            cuda::decode_workspace(partials, paged.heads(), paged.shape().head_size))) {}

  cuda::DecodeWork view() const {
    return {items_.data(), merges_.data(), static_cast<std::int32_t>(items_.size()),
            static_cast<std::int32_t>(merges_.size()), workspace_.data()};
  }

 private:
  DeviceArray<cuda::DecodeItem> items_;
  DeviceArray<cuda::MergeItem> merges_;
  DeviceArray<float> workspace_;
};

/// The decodes of a case, each in up to `pieces` partitions that begin anywhere.
std::unique_ptr<Work> random_split(const PagedCase& paged, std::int32_t pieces, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<cuda::DecodeItem> items;
  std::vector<cuda::MergeItem> merges;
  std::int32_t partials = 0;
  for (std::size_t i = 0; i < paged.sequences().size(); ++i) {
    const auto sequence = static_cast<std::int32_t>(i);
    const std::int32_t context = paged.sequences()[i].context();
    if (paged.sequences()[i].chunk != 1) {
      continue;
    }
    std::vector<std::int32_t> bounds{0, context};
    for (std::int32_t piece = 1; piece < pieces; ++piece) {
      bounds.push_back(static_cast<std::int32_t>(random() % static_cast<unsigned>(context)));
    }
    std::sort(bounds.begin(), bounds.end());
    bounds.erase(std::unique(bounds.begin(), bounds.end()), bounds.end());
    const auto count = static_cast<std::int32_t>(bounds.size()) - 1;
    if (count > 1) {
      merges.push_back({sequence, partials, count});
    }
    for (std::size_t piece = 0; piece + 1 < bounds.size(); ++piece) {
      items.push_back({sequence, bounds[piece], bounds[piece + 1], count > 1 ? partials++ : -1});
    }
  }
  std::shuffle(items.begin(), items.end(), random);
  return std::make_unique<Work>(items, merges, partials, paged);
}

/// The split that AttentionPlan makes.
std::unique_ptr<Work> planned_split(const PagedCase& paged, std::int32_t multiprocessors) {
  cuda::AttentionPlan plan;
  plan.build(paged.host_batch(), paged.shape().block_size, paged.shape().kv_heads, multiprocessors);
  return std::make_unique<Work>(std::vector<cuda::DecodeItem>(plan.decodes().begin(), plan.decodes().end()),
                                std::vector<cuda::MergeItem>(plan.merges().begin(), plan.merges().end()),
                                plan.partials(), paged);
}

std::vector<float> attend(PagedCase& paged, const Work& work) {
  paged.clear_out();
  cuda::decode_attention(nullptr, paged.queries(), paged.kv(), paged.batch(), work.view());
  return paged.out();
}

/// Decodes are right, and nothing else is written.
void expect_right(PagedCase& paged, const std::vector<float>& out) {
  for (std::size_t sequence = 0; sequence < paged.sequences().size(); ++sequence) {
    if (paged.sequences()[sequence].chunk == 1) {
      EXPECT_LE(paged.error(out, sequence), attention_tolerance(paged.shape().dtype))
          << ::testing::PrintToString(paged.shape()) << ", context " << paged.sequences()[sequence].context();
    } else {
      EXPECT_TRUE(paged.untouched(out, sequence));
    }
  }
}

/// The KV of a case whose sequences are all decodes, without paging.
class Contiguous {
 public:
  explicit Contiguous(const PagedCase& paged) : shape_(paged.shape()) {
    for (const PagedSequence& sequence : paged.sequences()) {
      max_length_ = std::max(max_length_, sequence.context() + 1);
    }
    const std::size_t bytes = paged.sequences().size() * static_cast<std::size_t>(shape_.kv_heads) *
                              static_cast<std::size_t>(max_length_ * shape_.head_size) *
                              kernels::size_of(shape_.dtype);
    std::vector<std::byte> keys(bytes, std::byte{0xff});
    std::vector<std::byte> values = keys;
    for (std::size_t sequence = 0; sequence < paged.sequences().size(); ++sequence) {
      for (std::int32_t head = 0; head < shape_.kv_heads; ++head) {
        for (std::int32_t position = 0; position < paged.sequences()[sequence].context(); ++position) {
          for (std::int32_t d = 0; d < shape_.head_size; ++d) {
            const std::int64_t index =
                ((static_cast<std::int64_t>(sequence) * shape_.kv_heads + head) * max_length_ + position) *
                    shape_.head_size +
                d;
            store(keys, index, paged.key(sequence, head, position, d));
            store(values, index, paged.value(sequence, head, position, d));
          }
        }
      }
    }
    keys_ = std::make_unique<DeviceArray<std::byte>>(keys);
    values_ = std::make_unique<DeviceArray<std::byte>>(values);
  }

  cuda::ContiguousKv view() const {
    return {keys_->data(), values_->data(), max_length_, shape_.kv_heads, shape_.head_size, shape_.dtype};
  }

 private:
  void store(std::vector<std::byte>& data, std::int64_t index, float value) const {
    const std::uint16_t half =
        shape_.dtype == DType::f16 ? kernels::cpu::f32_to_f16(value) : kernels::cpu::f32_to_bf16(value);
    const std::size_t size = kernels::size_of(shape_.dtype);
    const void* source = shape_.dtype == DType::f32 ? static_cast<const void*>(&value) : &half;
    std::memcpy(data.data() + static_cast<std::size_t>(index) * size, source, size);
  }

  PagedShape shape_;
  std::int32_t max_length_ = 0;
  std::unique_ptr<DeviceArray<std::byte>> keys_, values_;
};

std::vector<PagedSequence> draw_sequences(bool mixed) {
  std::vector<PagedSequence> sequences;
  const auto count = *rc::gen::inRange(1, 4);
  for (std::int32_t i = 0; i < count; ++i) {
    const auto cached = *rc::gen::oneOf(rc::gen::inRange(0, 40), rc::gen::inRange(0, 300));
    const auto chunk =
        mixed ? *rc::gen::weightedOneOf<std::int32_t>({{4, rc::gen::just(1)}, {1, rc::gen::element(0, 2, 5)}})
              : 1;
    sequences.push_back({cached, chunk});
  }
  return sequences;
}

RC_GTEST_PROP(DecodeAttention, MatchesTheReferenceHoweverTheContextIsSplit, ()) {
  PagedCase paged(draw_paged_shape(), draw_sequences(true), *rc::gen::arbitrary<unsigned>());
  const auto pieces = *rc::gen::element(1, 1, 2, 7, 40);
  const auto work = random_split(paged, pieces, *rc::gen::arbitrary<unsigned>());
  for_each_schedule([&] {
    const std::vector<float> out = attend(paged, *work);
    expect_right(paged, out);
  });
  RC_ASSERT(!::testing::Test::HasFailure());
}

RC_GTEST_PROP(DecodeAttention, GivesTheBitsOfTheContiguousKernel, ()) {
  PagedCase paged(draw_paged_shape(), draw_sequences(false), *rc::gen::arbitrary<unsigned>());
  const Contiguous contiguous(paged);
  const auto work = random_split(paged, *rc::gen::element(1, 3), *rc::gen::arbitrary<unsigned>());
  const std::vector<float> out = attend(paged, *work);
  paged.clear_out();
  cuda::contiguous_decode_attention(nullptr, paged.queries(), contiguous.view(), work->view());
  const std::vector<float> expected = paged.out();
  RC_ASSERT(std::memcmp(out.data(), expected.data(), out.size() * sizeof(float)) == 0);
  expect_right(paged, out);
  RC_ASSERT(!::testing::Test::HasFailure());
}

class DecodeAttentionOf : public ::testing::TestWithParam<DType> {};

TEST_P(DecodeAttentionOf, EveryHeadSizeAndGroupMatchesTheReferenceAsPlanned) {
  for (const std::int32_t head_size : {64, 80, 96, 128, 256}) {
    for (const std::int32_t group : {1, 2, 3, 4, 8}) {
      PagedCase paged({.kv_heads = 2, .group = group, .head_size = head_size, .dtype = GetParam()},
                      {{130, 1}, {0, 1}, {331, 1}}, 1);
      expect_right(paged, attend(paged, *planned_split(paged, 108)));
    }
  }
}

TEST_P(DecodeAttentionOf, GroupsBeyondABlockOfThreadsTakeSeveral) {
  for (const std::int32_t group : {9, 16, 17, 40}) {
    PagedCase paged({.kv_heads = 1, .group = group, .dtype = GetParam()}, {{60, 1}, {3, 1}}, 1);
    expect_right(paged, attend(paged, *random_split(paged, 2, 1)));
  }
}

TEST_P(DecodeAttentionOf, LongContextsAsPlanned) {
  for (const std::int32_t group : {1, 8}) {
    for (const std::int32_t multiprocessors : {1, 108}) {
      PagedCase paged({.kv_heads = 1, .group = group, .head_size = 128, .dtype = GetParam()},
                      {{2000, 1}, {1024, 1}, {9, 3}}, 1);
      expect_right(paged, attend(paged, *planned_split(paged, multiprocessors)));
    }
  }
}

TEST_P(DecodeAttentionOf, TheOnlyTokenOfASequenceGetsItsOwnValue) {
  for (const std::int32_t group : {1, 4}) {
    PagedCase paged({.group = group, .dtype = GetParam()}, {{0, 1}}, 1);
    const std::vector<float> out = attend(paged, *random_split(paged, 1, 1));
    for (std::int32_t i = 0; i < group * 64; ++i) {
      EXPECT_EQ(out[static_cast<std::size_t>(i)], paged.value(0, 0, 0, i % 64));
    }
  }
}

TEST_P(DecodeAttentionOf, ScoresOfAnySizeGiveFiniteResults) {
  for (const std::int32_t group : {1, 4}) {
    PagedCase paged({.group = group, .dtype = GetParam()}, {{90, 1}}, 1);
    for (const float scale : {1e4f, -1e4f, 0.0f}) {
      cuda::AttentionQueries queries = paged.queries();
      queries.scale = scale;
      cuda::decode_attention(nullptr, queries, paged.kv(), paged.batch(), random_split(paged, 3, 1)->view());
      for (const float value : paged.out()) {
        ASSERT_LE(std::abs(value), 1.0f) << scale;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(DTypes, DecodeAttentionOf, ::testing::Values(DType::f32, DType::f16, DType::bf16),
                         [](const auto& dtype) { return std::string(kernels::name_of(dtype.param)); });

TEST(DecodeAttention, NothingToDecodeIsANoOp) {
  PagedCase paged({}, {{5, 3}}, 1);
  EXPECT_TRUE(paged.untouched(attend(paged, *planned_split(paged, 108)), 0));
}

TEST(DecodeAttention, AHeadSizeWithoutAKernelIsRefused) {
  PagedCase paged({.head_size = 72}, {{5, 1}}, 1);
  const auto work = random_split(paged, 1, 1);
  EXPECT_THROW(attend(paged, *work), std::invalid_argument);
}

}  // namespace
}  // namespace pagelab::testing
