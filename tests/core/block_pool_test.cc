#include "core/block_pool.h"

#include <gtest/gtest.h>

namespace pagelab {
namespace {

TEST(BlockPool, HandsOutEveryBlockOnce) {
  BlockPool pool(Blocks(5), Tokens(16));
  std::vector<bool> seen(5, false);
  for (int i = 0; i < 5; ++i) {
    const BlockId block = pool.allocate();
    EXPECT_FALSE(seen[block.index()]);
    seen[block.index()] = true;
  }
  EXPECT_EQ(pool.free(), Blocks(0));
  pool.check_integrity();
}

TEST(BlockPool, ABlockIsFreeWhenItsLastOwnerLetsGo) {
  BlockPool pool(Blocks(1), Tokens(16));
  const BlockId block = pool.allocate();
  pool.retain(block);
  EXPECT_TRUE(pool.shared(block));
  pool.release(block);
  EXPECT_EQ(pool.free(), Blocks(0));
  pool.release(block);
  EXPECT_EQ(pool.free(), Blocks(1));
  EXPECT_EQ(pool.allocate(), block);
}

TEST(BlockPool, CountsFilledSlotsOnceHoweverOftenShared) {
  BlockPool pool(Blocks(3), Tokens(16));
  const BlockId a = pool.allocate();
  const BlockId b = pool.allocate();
  pool.set_fill(a, Tokens(16));
  pool.set_fill(b, Tokens(3));
  pool.retain(a);
  EXPECT_EQ(pool.filled(), Tokens(19));
  pool.release(a);
  EXPECT_EQ(pool.filled(), Tokens(19));
  pool.release(a);
  EXPECT_EQ(pool.filled(), Tokens(3));
  pool.check_integrity();
}

TEST(BlockPoolDeathTest, RefusesMisuse) {
  BlockPool pool(Blocks(1), Tokens(4));
  const BlockId block = pool.allocate();
  EXPECT_DEATH(pool.allocate(), "empty pool");
  EXPECT_DEATH(pool.set_fill(block, Tokens(5)), "fill");
  pool.release(block);
  EXPECT_DEATH(pool.release(block), "freed twice");
  EXPECT_DEATH(pool.retain(block), "is free");
}

}  // namespace
}  // namespace pagelab
