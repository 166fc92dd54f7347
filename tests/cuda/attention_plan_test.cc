// The plan of a step's attention: that it covers every position once, that it is bounded, and when it splits.
#include "kernels/cuda/attention_plan.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace pagelab::testing {
namespace {

namespace cuda = kernels::PAGELAB_CUDA_VARIANT;

/// The arrays of a batch that a plan reads.
struct Batch {
  explicit Batch(std::int32_t block_size_) : block_size(block_size_) {}

  void add(std::int32_t context, std::int32_t chunk) {
    query_indptr.push_back(query_indptr.back() + chunk);
    kv_indptr.push_back(kv_indptr.back() + (context + block_size - 1) / block_size);
    last_block_len.push_back(context == 0 ? block_size : (context - 1) % block_size + 1);
    contexts.push_back(context);
    chunks.push_back(chunk);
  }
  cuda::AttentionPlan plan(std::int32_t kv_heads, std::int32_t multiprocessors) const {
    cuda::AttentionPlan plan;
    build(plan, kv_heads, multiprocessors);
    return plan;
  }
  void build(cuda::AttentionPlan& plan, std::int32_t kv_heads, std::int32_t multiprocessors) const {
    plan.build({query_indptr, kv_indptr, {}, last_block_len, {}, {}}, block_size, kv_heads, multiprocessors);
  }

  std::int32_t block_size;
  std::vector<std::int32_t> query_indptr{0}, kv_indptr{0}, last_block_len, contexts, chunks;
};

Batch equal_decodes(std::int32_t sequences, std::int32_t context) {
  Batch batch(16);
  for (std::int32_t i = 0; i < sequences; ++i) {
    batch.add(context, 1);
  }
  return batch;
}

Batch draw_batch() {
  Batch batch(*rc::gen::inRange(1, 257));
  const auto sequences = *rc::gen::inRange(0, 40);
  for (std::int32_t i = 0; i < sequences; ++i) {
    const auto chunk = *rc::gen::weightedOneOf<std::int32_t>(
        {{1, rc::gen::just(0)}, {6, rc::gen::just(1)}, {2, rc::gen::inRange(2, 400)}});
    const auto cached = *rc::gen::oneOf(rc::gen::inRange(0, 600), rc::gen::inRange(0, 40000));
    batch.add(cached + chunk, chunk);
  }
  return batch;
}

RC_GTEST_PROP(AttentionPlan, CoversTheContextOfEveryDecodeExactlyOnce, ()) {
  const Batch batch = draw_batch();
  const auto plan = batch.plan(*rc::gen::inRange(1, 41), *rc::gen::inRange(1, 200));
  std::size_t next = 0;
  const auto items = plan.decodes();
  for (std::size_t sequence = 0; sequence < batch.chunks.size(); ++sequence) {
    std::int32_t covered = 0;
    for (; next < items.size() && items[next].sequence == static_cast<std::int32_t>(sequence); ++next) {
      RC_ASSERT(batch.chunks[sequence] == 1);
      RC_ASSERT(items[next].begin == covered);
      RC_ASSERT(items[next].end > items[next].begin);
      RC_ASSERT(items[next].begin % cuda::kPartitionGranule == 0);
      covered = items[next].end;
    }
    RC_ASSERT(covered == (batch.chunks[sequence] == 1 ? batch.contexts[sequence] : 0));
  }
  RC_ASSERT(next == items.size());
}

RC_GTEST_PROP(AttentionPlan, MergesTheSequencesOfSeveralItemsAndNoOthers, ()) {
  const Batch batch = draw_batch();
  const auto plan = batch.plan(*rc::gen::inRange(1, 41), *rc::gen::inRange(1, 200));
  std::vector<std::int32_t> items_of(batch.chunks.size()), merged(batch.chunks.size());
  for (const auto& item : plan.decodes()) {
    ++items_of[static_cast<std::size_t>(item.sequence)];
  }
  std::vector<std::int32_t> owner(static_cast<std::size_t>(plan.partials()), -1);
  std::int32_t partials = 0;
  for (const auto& merge : plan.merges()) {
    RC_ASSERT(merge.first == partials);
    RC_ASSERT(merge.count > 1);
    merged[static_cast<std::size_t>(merge.sequence)] += merge.count;
    for (std::int32_t i = 0; i < merge.count; ++i) {
      owner[static_cast<std::size_t>(partials++)] = merge.sequence;
    }
  }
  RC_ASSERT(partials == plan.partials());
  std::vector<bool> written(owner.size());
  for (const auto& item : plan.decodes()) {
    const std::size_t sequence = static_cast<std::size_t>(item.sequence);
    RC_ASSERT(items_of[sequence] == std::max(1, merged[sequence]));
    if (items_of[sequence] == 1) {
      RC_ASSERT(item.partial == -1);
    } else {
      RC_ASSERT(owner[static_cast<std::size_t>(item.partial)] == item.sequence);
      RC_ASSERT(!written[static_cast<std::size_t>(item.partial)]);
      written[static_cast<std::size_t>(item.partial)] = true;
    }
  }
  RC_ASSERT(std::count(written.begin(), written.end(), true) == plan.partials());
}

RC_GTEST_PROP(AttentionPlan, IsBoundedAndBalanced, ()) {
  const Batch batch = draw_batch();
  const auto kv_heads = *rc::gen::inRange(1, 41);
  const auto multiprocessors = *rc::gen::inRange(1, 200);
  const auto plan = batch.plan(kv_heads, multiprocessors);
  const auto decodes = std::count(batch.chunks.begin(), batch.chunks.end(), 1);
  const auto extra = std::max(1, cuda::kBlocksPerMultiprocessor * multiprocessors / kv_heads);
  RC_ASSERT(static_cast<std::int64_t>(plan.decodes().size()) <= decodes + extra);
  for (const auto& merge : plan.merges()) {
    const std::int32_t context = batch.contexts[static_cast<std::size_t>(merge.sequence)];
    const std::int32_t even = context / merge.count;
    for (const auto& item : plan.decodes()) {
      if (item.sequence == merge.sequence) {
        RC_ASSERT(item.end - item.begin <= even + 2 * cuda::kPartitionGranule);
        RC_ASSERT(item.end - item.begin >= cuda::kMinPartition / 2);
      }
    }
  }
}

RC_GTEST_PROP(AttentionPlan, GivesEveryRowOfALongerChunkToOnePrefillItem, ()) {
  const Batch batch = draw_batch();
  const auto plan = batch.plan(1, 108);
  std::size_t next = 0;
  for (std::size_t sequence = 0; sequence < batch.chunks.size(); ++sequence) {
    for (std::int32_t row = 0; batch.chunks[sequence] > 1 && row < batch.chunks[sequence];
         row += cuda::kPrefillRows) {
      RC_ASSERT(next < plan.prefills().size());
      RC_ASSERT(plan.prefills()[next].sequence == static_cast<std::int32_t>(sequence));
      RC_ASSERT(plan.prefills()[next].row == row);
      ++next;
    }
  }
  RC_ASSERT(next == plan.prefills().size());
}

RC_GTEST_PROP(AttentionPlan, KeepsNothingOfAnEarlierStep, ()) {
  const Batch earlier = draw_batch();
  const Batch batch = draw_batch();
  const auto fresh = batch.plan(8, 108);
  cuda::AttentionPlan plan;
  earlier.build(plan, 4, 132);
  batch.build(plan, 8, 108);
  const auto same = [](const auto& a, const auto& b, auto... members) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [&](const auto& x, const auto& y) { return ((x.*members == y.*members) && ...); });
  };
  RC_ASSERT(plan.partials() == fresh.partials());
  RC_ASSERT(same(plan.decodes(), fresh.decodes(), &cuda::DecodeItem::sequence, &cuda::DecodeItem::begin,
                 &cuda::DecodeItem::end, &cuda::DecodeItem::partial));
  RC_ASSERT(same(plan.merges(), fresh.merges(), &cuda::MergeItem::sequence, &cuda::MergeItem::first,
                 &cuda::MergeItem::count));
  RC_ASSERT(same(plan.prefills(), fresh.prefills(), &cuda::PrefillItem::sequence, &cuda::PrefillItem::row));
}

TEST(AttentionPlan, SplitsALongContextUntilTheMachineIsFull) {
  constexpr std::int32_t kHeads = 8;
  constexpr std::int32_t kMultiprocessors = 108;
  const auto plan = equal_decodes(1, 32768).plan(kHeads, kMultiprocessors);
  const auto blocks = static_cast<std::int32_t>(plan.decodes().size()) * kHeads;
  EXPECT_LE(blocks, cuda::kBlocksPerMultiprocessor * kMultiprocessors);
  EXPECT_GE(blocks, cuda::kBlocksPerMultiprocessor * kMultiprocessors * 9 / 10);
}

TEST(AttentionPlan, LeavesManyEqualSequencesWhole) {
  const auto plan = equal_decodes(256, 4096).plan(8, 108);
  EXPECT_EQ(plan.decodes().size(), 256u);
  EXPECT_EQ(plan.partials(), 0);
}

TEST(AttentionPlan, LeavesAShortContextWholeHoweverEmptyTheMachine) {
  EXPECT_EQ(equal_decodes(1, cuda::kMinPartition).plan(1, 108).partials(), 0);
  EXPECT_EQ(equal_decodes(1, cuda::kMinPartition + 1).plan(1, 108).partials(), 2);
}

TEST(AttentionPlan, SplitsTheOneLongContextAmongManyShortOnes) {
  Batch batch = equal_decodes(255, 128);
  batch.add(32768, 1);
  const auto plan = batch.plan(8, 108);
  ASSERT_EQ(plan.merges().size(), 1u);
  EXPECT_EQ(plan.merges()[0].sequence, 255);
  std::int32_t longest = 0;
  for (const auto& item : plan.decodes()) {
    longest = std::max(longest, item.end - item.begin);
  }
  const std::int32_t fair = (255 * 128 + 32768) * 8 / (cuda::kBlocksPerMultiprocessor * 108);
  EXPECT_LE(longest, 2 * fair + 2 * cuda::kPartitionGranule);
}

}  // namespace
}  // namespace pagelab::testing
