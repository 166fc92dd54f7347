// The kernels of prefill attention against the reference over random shapes, and the promise that a row's
// result is the same to the bit whatever rows share its block of threads.
#include "kernels/cuda/prefill_attention.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "tests/cuda/device_array.h"
#include "tests/cuda/paged_case.h"

namespace pagelab::testing {
namespace {

using cuda::kPrefillRows;
using cuda::PrefillItem;

std::vector<PrefillItem> items_of(const PagedCase& test, std::size_t sequence) {
  std::vector<PrefillItem> items;
  for (std::int32_t row = 0; row < test.sequences()[sequence].chunk; row += kPrefillRows) {
    items.push_back({static_cast<std::int32_t>(sequence), row});
  }
  return items;
}

std::vector<PrefillItem> all_items(const PagedCase& test) {
  std::vector<PrefillItem> items;
  for (std::size_t sequence = 0; sequence < test.sequences().size(); ++sequence) {
    const std::vector<PrefillItem> more = items_of(test, sequence);
    items.insert(items.end(), more.begin(), more.end());
  }
  return items;
}

/// The output of prefill attention of these items, PagedCase::kUntouched where it wrote nothing.
std::vector<float> attend(PagedCase& test, const std::vector<PrefillItem>& items) {
  test.clear_out();
  const DeviceArray<PrefillItem> device_items(items);
  cuda::prefill_attention(nullptr, test.queries(), test.kv(), test.batch(), device_items.data(),
                          static_cast<std::int32_t>(items.size()));
  return test.out();
}

/// The largest error of any sequence, over its tolerance.
double relative_error(PagedCase& test, const std::vector<float>& out) {
  double worst = 0;
  for (std::size_t sequence = 0; sequence < test.sequences().size(); ++sequence) {
    worst = std::max(worst, test.error(out, sequence));
  }
  return worst / attention_tolerance(test.shape().dtype);
}

PagedSequence draw_sequence() {
  return {*rc::gen::oneOf(rc::gen::just(0), rc::gen::inRange(0, 64), rc::gen::inRange(0, 301)),
          *rc::gen::oneOf(rc::gen::inRange(1, 9), rc::gen::inRange(1, 70), rc::gen::inRange(1, 201))};
}

std::vector<PagedSequence> draw_sequences() {
  std::vector<PagedSequence> sequences;
  for (int i = *rc::gen::inRange(1, 4); i > 0; --i) {
    sequences.push_back(draw_sequence());
  }
  return sequences;
}

/// Multiply-adds, roughly; what the time of an emulated run follows.
std::int64_t work_of(const PagedShape& shape, const std::vector<PagedSequence>& sequences) {
  std::int64_t work = 0;
  for (const PagedSequence& sequence : sequences) {
    work += std::int64_t{(sequence.chunk + 63) / 64} * ((sequence.context() + 63) / 64);
  }
  return work * shape.kv_heads * shape.group * shape.head_size;
}

/// Any shape and ragged batch, heads and sequences taken away until the work is bounded.
PagedCase draw_case() {
  constexpr std::int64_t kMostWork = 1024;
  PagedShape shape = draw_paged_shape();
  std::vector<PagedSequence> sequences = draw_sequences();
  while (work_of(shape, sequences) > kMostWork) {
    if (shape.kv_heads > 1) {
      --shape.kv_heads;
    } else if (sequences.size() > 1) {
      sequences.pop_back();
    } else if (shape.group > 1) {
      --shape.group;
    } else {
      break;
    }
  }
  return PagedCase(shape, sequences, *rc::gen::arbitrary<unsigned>());
}

RC_GTEST_PROP(CudaPrefillAttention, AgreesWithTheReferenceForRaggedChunksWithCachedPrefixes, ()) {
  PagedCase test = draw_case();
  const std::vector<PrefillItem> items = all_items(test);
  for_each_schedule([&] { RC_ASSERT(relative_error(test, attend(test, items)) <= 1.0); });
}

RC_GTEST_PROP(CudaPrefillAttention, ARowIsTheSameToTheBitWhereverItsTileBegins, ()) {
  PagedCase test = draw_case();
  const std::int32_t row = *rc::gen::inRange(0, test.sequences()[0].chunk);
  const std::int32_t end = std::min(row + kPrefillRows, test.sequences()[0].chunk);
  const std::vector<float> whole = attend(test, items_of(test, 0));
  const std::vector<float> tile = attend(test, {{0, row}});
  const std::int32_t width = test.heads() * test.shape().head_size;
  for (std::int32_t i = 0; i < test.tokens() * width; ++i) {
    const bool inside = i >= row * width && i < end * width;
    const auto at = static_cast<std::size_t>(i);
    RC_ASSERT(std::memcmp(&tile[at], inside ? &whole[at] : &PagedCase::kUntouched, sizeof(float)) == 0);
  }
}

TEST(CudaPrefillAttention, AgreesWithTheReferenceForEveryHeadSizeAndTypeAroundTheTilesEdges) {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    for (const std::int32_t head_size : {64, 80, 96, 128, 256}) {
      const PagedShape shape{.head_size = head_size, .block_size = 7, .dtype = dtype};
      PagedCase test(shape, {{0, 1}, {0, 16}, {15, 17}, {0, 63}, {64, 64}, {63, 65}, {1, 2}}, 1);
      const std::vector<PrefillItem> items = all_items(test);
      for_each_schedule([&] { EXPECT_LE(relative_error(test, attend(test, items)), 1.0) << head_size; });
    }
  }
}

TEST(CudaPrefillAttention, AgreesWithTheReferenceForEveryBlockSize) {
  for (std::int32_t block_size = 1; block_size <= 256; ++block_size) {
    const DType dtype = block_size % 2 == 0 ? DType::bf16 : DType::f16;
    PagedCase test({.head_size = 64, .block_size = block_size, .dtype = dtype}, {{block_size - 1, 3}, {0, 5}},
                   static_cast<unsigned>(block_size));
    EXPECT_LE(relative_error(test, attend(test, all_items(test))), 1.0) << block_size;
  }
}

TEST(CudaPrefillAttention, ServesEveryGroupSize) {
  for (std::int32_t group = 1; group <= 8; ++group) {
    PagedCase test({.kv_heads = 2, .group = group, .head_size = 80, .dtype = DType::f16}, {{5, 20}}, 3);
    EXPECT_LE(relative_error(test, attend(test, all_items(test))), 1.0) << group;
  }
}

TEST(CudaPrefillAttention, WritesNoRowOfASequenceThatIsNotAsked) {
  PagedCase test({.group = 2, .dtype = DType::bf16}, {{10, 70}, {0, 1}, {3, 65}, {0, 0}, {7, 30}}, 5);
  const std::vector<float> out = attend(test, {{2, 64}, {4, 0}, {2, 0}});
  for (const std::size_t sequence : {0, 1, 3}) {
    EXPECT_TRUE(test.untouched(out, sequence)) << sequence;
  }
  for (const std::size_t sequence : {2, 4}) {
    EXPECT_LE(test.error(out, sequence), attention_tolerance(DType::bf16)) << sequence;
  }
}

TEST(CudaPrefillAttention, LaunchesNothingWithoutItems) {
  PagedCase test({.dtype = DType::f16}, {{0, 4}}, 7);
  EXPECT_TRUE(test.untouched(attend(test, {}), 0));
}

TEST(CudaPrefillAttention, RefusesAHeadSizeWithoutAKernel) {
  PagedCase test({.head_size = 72, .dtype = DType::f16}, {{0, 4}}, 7);
  EXPECT_THROW(attend(test, all_items(test)), std::invalid_argument);
}

}  // namespace
}  // namespace pagelab::testing
