// Sequences at adjacent addresses over blocks that lie anywhere.
#include "kernels/cpu/sequence_ranges.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <stdexcept>
#include <string>

#include "kernels/cpu/kv_cache.h"

namespace pagelab::kernels::cpu {
namespace {

using ::testing::HasSubstr;

constexpr std::size_t kPage = 4096;
constexpr std::int32_t kTensors = 3;

/// Six blocks whose pages begin with "block.tensor".
class Pages : public ::testing::Test {
 protected:
  Pages() {
    for (std::int32_t block = 0; block < 6; ++block) {
      for (std::int32_t tensor = 0; tensor < kTensors; ++tensor) {
        write(block, tensor, std::to_string(block) + "." + std::to_string(tensor));
      }
    }
  }
  void write(std::int32_t block, std::int32_t tensor, const std::string& text) {
    std::memcpy(ranges.pool() + static_cast<std::size_t>(block * kTensors + tensor) * kPage, text.c_str(),
                text.size() + 1);
  }
  std::string read(std::int32_t first_block, std::int32_t tensor, std::int32_t place) const {
    return reinterpret_cast<const char*>(ranges.tensor(first_block, tensor) +
                                         static_cast<std::size_t>(place) * kPage);
  }
  void map(std::vector<std::int32_t> table) { ranges.map(table); }

  SequenceRanges ranges{6, kTensors, kPage};
};

TEST_F(Pages, FollowEachOtherInEveryTensor) {
  map({4, 1, 5});
  for (std::int32_t tensor = 0; tensor < kTensors; ++tensor) {
    const std::string suffix = "." + std::to_string(tensor);
    EXPECT_EQ(read(4, tensor, 0), "4" + suffix);
    EXPECT_EQ(read(4, tensor, 1), "1" + suffix);
    EXPECT_EQ(read(4, tensor, 2), "5" + suffix);
  }
}

TEST_F(Pages, ShowWhatIsWrittenLater) {
  map({4, 1});
  write(1, 2, "new");
  EXPECT_EQ(read(4, 2, 1), "new");
}

TEST_F(Pages, AreMappedOnceAndOnDemand) {
  map({4, 1});
  EXPECT_EQ(ranges.pages_mapped(), 2 * kTensors);
  map({4, 1});
  EXPECT_EQ(ranges.pages_mapped(), 2 * kTensors);
  map({4, 1, 0});
  EXPECT_EQ(ranges.pages_mapped(), 3 * kTensors);
}

TEST_F(Pages, GoToTheSequenceThatHasTheirBlockNow) {
  map({4, 1, 5});
  map({2, 1});  // the first one gave up all but its first block
  EXPECT_EQ(read(2, 0, 1), "1.0");
  map({4, 3});
  EXPECT_EQ(read(4, 0, 1), "3.0");
  map({5, 4});  // the first one ended, and its first block is another's second
  EXPECT_EQ(read(5, 0, 0), "5.0");
  EXPECT_EQ(read(5, 0, 1), "4.0");
  map({4, 5});
  EXPECT_EQ(read(4, 0, 0), "4.0");
  EXPECT_EQ(read(4, 0, 1), "5.0");
}

TEST(SequenceRanges, NeedWholePagesOfTheSystem) {
  try {
    SequenceRanges ranges(2, 2, 1000);
    FAIL();
  } catch (const std::invalid_argument& error) {
    EXPECT_THAT(error.what(), HasSubstr("a block's K of one layer has 1000 bytes"));
  }
}

TEST(MappedKvCache, RefusesTwoSequencesThatBeginWithOneBlock) {
  KvShape shape;
  shape.layers = 1;
  shape.kv_heads = 1;
  shape.head_size = 64;
  shape.block_size = 16;
  shape.device_blocks = 4;
  KvCache cache(shape, true);
  const std::vector<std::int32_t> indptr = {0, 2, 4};
  const std::vector<std::int32_t> apart = {0, 1, 2, 3};
  cache.map({.query_indptr = {},
             .kv_indptr = indptr,
             .kv_indices = apart,
             .last_block_len = {},
             .positions = {},
             .slot_mapping = {}});
  EXPECT_EQ(cache.pages_mapped(), 4 * 2);
  const std::vector<std::int32_t> shared = {0, 1, 0, 3};
  EXPECT_THROW(cache.map({.query_indptr = {},
                          .kv_indptr = indptr,
                          .kv_indices = shared,
                          .last_block_len = {},
                          .positions = {},
                          .slot_mapping = {}}),
               std::logic_error);
}

}  // namespace
}  // namespace pagelab::kernels::cpu
