#include "core/kv_manager.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "core/step_batch.h"
#include "tests/support/builders.h"

namespace pagelab {
namespace {

/// A KV manager with the built-in policies, and groups to drive it with.
class Bench {
 public:
  Bench(std::int64_t device_blocks, std::int64_t host_blocks, std::int64_t block_size)
      : policies_(testing::policies()),
        kv({.device_blocks = Blocks(device_blocks),
            .host_blocks = Blocks(host_blocks),
            .block_size = Tokens(block_size),
            .block_bytes = Bytes(1),
            .max_positions = Tokens(4096)},
           *policies_.allocation, *policies_.sharing, *policies_.eviction) {
    clear(batch);
  }

  SequenceGroup& group(std::int64_t prompt, std::int64_t output) {
    auto& group = groups_.emplace_back(std::make_unique<SequenceGroup>());
    group->request = testing::request(static_cast<std::int32_t>(groups_.size()) - 1, prompt, output);
    group->live.emplace_back().prompt = Tokens(prompt);
    return *group;
  }

  void apply(DecisionKind kind, SequenceGroup& group, Tokens tokens = Tokens(0), std::int32_t sequence = -1) {
    kv.apply({.kind = kind,
              .group = &group,
              .sequence = sequence,
              .tokens = tokens,
              .reason = "test",
              .completes = tokens == group.pending()},
             batch, log);
    check();
  }
  void produce(SequenceGroup& group) {
    for (Sequence& sequence : group.live) {
      sequence.output.push_back(1);
    }
  }
  std::vector<SequenceGroup*> in(GroupState state) const {
    std::vector<SequenceGroup*> found;
    for (const auto& group : groups_) {
      if (group->state == state) {
        found.push_back(group.get());
      }
    }
    return found;
  }
  void check() {
    kv.check_integrity(in(GroupState::running), in(GroupState::swapped));
    ASSERT_TRUE(kv.ledger(in(GroupState::running)).balanced());
  }

 private:
  PolicySet policies_;
  std::vector<std::unique_ptr<SequenceGroup>> groups_;

 public:
  KvManager kv;
  StepBatch batch;
  std::vector<Decision> log;
};

TEST(KvManager, AppendsABlockOnlyWhenTheLastIsFull) {
  Bench bench(8, 0, 4);
  SequenceGroup& group = bench.group(4, 8);
  bench.apply(DecisionKind::admit, group, Tokens(4));
  EXPECT_EQ(group.live[0].blocks.size(), 1u);
  bench.produce(group);
  EXPECT_EQ(bench.kv.blocks_to_append(group, Tokens(1)), Blocks(1));
  bench.apply(DecisionKind::proceed, group, Tokens(1));
  EXPECT_EQ(group.live[0].blocks.size(), 2u);
  bench.produce(group);
  EXPECT_EQ(bench.kv.blocks_to_append(group, Tokens(1)), Blocks(0));
}

TEST(KvManager, TheBatchNamesTokensPositionsAndTable) {
  Bench bench(8, 0, 4);
  SequenceGroup& group = bench.group(6, 8);
  bench.apply(DecisionKind::admit, group, Tokens(6));
  ASSERT_EQ(bench.batch.chunks.size(), 1u);
  const Chunk& chunk = bench.batch.chunks[0];
  EXPECT_EQ(chunk.first, 0);
  EXPECT_EQ(chunk.count, 6);
  EXPECT_EQ(chunk.blocks.data(), group.live[0].blocks.data());
  EXPECT_EQ(bench.batch.tokens, group.request.prompt);
}

TEST(KvManager, SwapKeepsSharingAndFills) {
  Bench bench(8, 8, 4);
  SequenceGroup& group = bench.group(6, 8);
  bench.apply(DecisionKind::admit, group, Tokens(6));
  bench.apply(DecisionKind::fork, group, Tokens(0), 0);
  bench.apply(DecisionKind::preempt_swap, group);
  EXPECT_EQ(bench.kv.device().allocated(), Blocks(0));
  EXPECT_EQ(bench.kv.host().allocated(), Blocks(2));
  EXPECT_EQ(bench.kv.host().filled(), Tokens(6));
  EXPECT_EQ(bench.batch.swap_out.size(), 2u);
  bench.produce(group);
  EXPECT_EQ(bench.kv.blocks_to_append(group, Tokens(2)), Blocks(1)) << "one of the two writers gets a copy";
  bench.apply(DecisionKind::swap_in, group, Tokens(2));
  EXPECT_EQ(bench.kv.device().allocated(), Blocks(3));
  EXPECT_EQ(bench.batch.copies.size(), 1u);
}

TEST(KvManager, RecomputeDropsBlocksAndRestoresWholeSharedOnes) {
  Bench bench(16, 0, 4);
  SequenceGroup& group = bench.group(10, 8);
  bench.apply(DecisionKind::admit, group, Tokens(10));
  bench.apply(DecisionKind::fork, group, Tokens(0), 0);
  bench.produce(group);
  bench.apply(DecisionKind::proceed, group, Tokens(2));
  EXPECT_EQ(bench.kv.device().allocated(), Blocks(4));
  bench.apply(DecisionKind::preempt_recompute, group);
  EXPECT_EQ(bench.kv.device().allocated(), Blocks(0));
  bench.produce(group);
  EXPECT_EQ(group.pending(), Tokens(12 + 4))
      << "the second computes what is not in the two whole shared blocks";
  EXPECT_EQ(bench.kv.blocks_to_admit(group), Blocks(4));
  bench.apply(DecisionKind::admit, group, group.pending());
  EXPECT_EQ(bench.kv.device().allocated(), Blocks(4));
  EXPECT_EQ(group.live[0].blocks[1], group.live[1].blocks[1]);
  EXPECT_NE(group.live[0].blocks[2], group.live[1].blocks[2]);
  EXPECT_EQ(group.recomputed, Tokens(11 + 3));
}

TEST(KvManager, ReservedSlotsThatWillNeverBeUsedAreInternalWaste) {
  Bench bench(8, 0, 4);
  SequenceGroup& group = bench.group(1, 2);  // two slots are ever filled, of a block of four
  bench.apply(DecisionKind::admit, group, Tokens(1));
  const SlotLedger ledger = bench.kv.ledger(bench.in(GroupState::running));
  EXPECT_EQ(ledger.token, Tokens(1));
  EXPECT_EQ(ledger.reserved, Tokens(1));
  EXPECT_EQ(ledger.internal, Tokens(2));
}

// Random walks through everything that can happen to blocks, in any order that fits.
RC_GTEST_PROP(KvManagerProperty, NoSequenceOfOperationsLosesABlock, ()) {
  const std::int64_t block_size = *rc::gen::inRange<std::int64_t>(1, 9);
  Bench bench(*rc::gen::inRange<std::int64_t>(1, 40), *rc::gen::inRange<std::int64_t>(0, 40), block_size);
  const int operations = *rc::gen::inRange(1, 80);
  for (int i = 0; i < operations; ++i) {
    const auto running = bench.in(GroupState::running);
    const auto waiting = bench.in(GroupState::waiting);
    const auto swapped = bench.in(GroupState::swapped);
    const int operation = *rc::gen::inRange(0, 8);
    if (operation == 0) {
      bench.group(*rc::gen::inRange<std::int64_t>(1, 30), 1000);
    } else if (operation == 1 && !waiting.empty()) {
      SequenceGroup& group =
          *waiting[static_cast<std::size_t>(*rc::gen::inRange<int>(0, static_cast<int>(waiting.size())))];
      if (bench.kv.blocks_to_admit(group) <= bench.kv.device().free()) {
        bench.apply(DecisionKind::admit, group, group.pending());
      }
    } else if (operation == 2 && !swapped.empty()) {
      SequenceGroup& group = *swapped.front();
      bench.produce(group);
      const Blocks need = bench.kv.blocks_held(group) + bench.kv.blocks_to_append(group, group.pending());
      if (need <= bench.kv.device().free()) {
        bench.apply(DecisionKind::swap_in, group, group.pending());
      }
    } else if (!running.empty()) {
      SequenceGroup& group =
          *running[static_cast<std::size_t>(*rc::gen::inRange<int>(0, static_cast<int>(running.size())))];
      const auto sequence = *rc::gen::inRange<int>(0, static_cast<int>(group.live.size()));
      if (operation == 3 && group.live.size() < 5) {
        bench.apply(DecisionKind::fork, group, Tokens(0), sequence);
      } else if (operation == 4) {
        bench.apply(DecisionKind::preempt_recompute, group);
        bench.produce(group);
      } else if (operation == 5 && bench.kv.blocks_held(group) <= bench.kv.host().free()) {
        bench.apply(DecisionKind::preempt_swap, group);
      } else if (operation == 6) {
        bench.apply(DecisionKind::finish, group, Tokens(0), sequence);
        group.live.erase(group.live.begin() + sequence);
        group.state = group.live.empty() ? GroupState::finished : group.state;
      } else {
        bench.produce(group);
        const Blocks need = bench.kv.blocks_to_append(group, group.pending());
        if (need <= bench.kv.device().free()) {
          const Blocks before = bench.kv.device().allocated();
          bench.apply(DecisionKind::proceed, group, group.pending());
          RC_ASSERT(bench.kv.device().allocated() - before == need);
        }
      }
    }
  }
  for (const GroupState state : {GroupState::running, GroupState::swapped}) {
    for (SequenceGroup* group : bench.in(state)) {
      for (std::size_t i = group->live.size(); i-- > 0;) {
        bench.kv.apply({DecisionKind::finish, group, static_cast<std::int32_t>(i), Tokens(0), ""},
                       bench.batch, bench.log);
      }
      group->live.clear();
      group->state = GroupState::finished;
    }
  }
  bench.check();
  RC_ASSERT(bench.kv.device().allocated() == Blocks(0));
  RC_ASSERT(bench.kv.host().allocated() == Blocks(0));
}

}  // namespace
}  // namespace pagelab
