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

}  // namespace
}  // namespace pagelab
