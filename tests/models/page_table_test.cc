#include "models/page_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pagelab {
namespace {

using ::testing::ElementsAre;

TEST(PageTable, TellsWhereEveryTokenOfEveryChunkGoes) {
  const std::vector<BlockId> one{BlockId(5), BlockId(2), BlockId(9)};  // its third block is only reserved
  const std::vector<BlockId> two{BlockId(7)};
  StepBatch batch;
  batch.chunks = {{one, 2, 4, 0}, {two, 3, 1, 4}};  // positions 2..5 and 3, blocks of four slots
  PageTable table;
  for (int again = 0; again < 2; ++again) {
    table.build(batch, 4);
    const kernels::AttentionBatch view = table.view();
    EXPECT_THAT(view.query_indptr, ElementsAre(0, 4, 5));
    EXPECT_THAT(view.kv_indptr, ElementsAre(0, 2, 3));
    EXPECT_THAT(view.kv_indices, ElementsAre(5, 2, 7));
    EXPECT_THAT(view.last_block_len, ElementsAre(2, 4));
    EXPECT_THAT(view.positions, ElementsAre(2, 3, 4, 5, 3));
    EXPECT_THAT(view.slot_mapping, ElementsAre(22, 23, 8, 9, 31));
  }
}

TEST(PageTable, TakesSlotsFromWhatIsHeldWherePositionsWereDropped) {
  const std::vector<BlockId> one{BlockId(5), BlockId(2), BlockId(9)};
  const std::vector<BlockId> two{BlockId(7), BlockId(3)};
  const std::vector<std::int32_t> positions{0, 9, 4, 5, 6, 7, 8};
  StepBatch batch;
  batch.chunks = {{.blocks = one, .first = 9, .count = 1, .row = 0, .dropped = 3, .hole = 1},
                  {.blocks = two, .first = 20, .count = 2, .row = 1, .dropped = 17}};
  batch.weighed = {{.chunk = 0, .positions = positions}};
  PageTable table;
  table.build(batch, 4);
  const kernels::AttentionBatch view = table.view();
  EXPECT_THAT(view.kv_indptr, ElementsAre(0, 2, 4));
  EXPECT_THAT(view.kv_indices, ElementsAre(5, 2, 7, 3));
  EXPECT_THAT(view.last_block_len, ElementsAre(3, 1));
  EXPECT_EQ(view.context(0, 4), 7);
  EXPECT_THAT(view.positions, ElementsAre(9, 20, 21));
  EXPECT_THAT(view.slot_mapping, ElementsAre(21, 31, 12)) << "into the hole; behind what is held";
  EXPECT_THAT(view.weighed, ElementsAre(0));
}

}  // namespace
}  // namespace pagelab
