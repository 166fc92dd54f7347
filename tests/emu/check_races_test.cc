// The shadow memory that finds races, against a model that keeps every access and searches for an order
// between two of them along all barriers.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <array>
#include <set>
#include <vector>

#include "kernels/emu/check_races.h"

namespace pagelab::emu {
namespace {

constexpr std::uint32_t kThreads = 67;  // three warps, the last one of three lanes
constexpr std::size_t kBytes = 16;

/// Vector clocks of all threads and a list of all accesses.
class Model {
 public:
  Model() : clocks_(kThreads, std::vector<std::uint32_t>(kThreads, 0)) {
    for (std::uint32_t thread = 0; thread < kThreads; ++thread) {
      clocks_[thread][thread] = 1;
    }
  }

  /// The next block begins: what others did in this launch comes neither before nor after.
  void next_block() {
    for (Done& done : history_) {
      done.other_block = true;
    }
    *this = Model(std::move(history_));
  }

  void synchronise(const std::vector<std::uint32_t>& threads) {
    std::vector<std::uint32_t> joined(kThreads, 0);
    for (const std::uint32_t thread : threads) {
      for (std::uint32_t other = 0; other < kThreads; ++other) {
        joined[other] = std::max(joined[other], clocks_[thread][other]);
      }
    }
    for (const std::uint32_t thread : threads) {
      clocks_[thread] = joined;
      ++clocks_[thread][thread];
    }
  }

  bool access(std::uint32_t thread, Access kind, std::size_t offset, std::size_t bytes) {
    bool race = false;
    for (const Done& done : history_) {
      const bool overlap = done.offset < offset + bytes && offset < done.offset + done.bytes;
      const bool conflict = (done.kind != Access::read || kind != Access::read) &&
                            (done.kind != Access::atomic || kind != Access::atomic);
      const bool ordered =
          !done.other_block && (done.thread == thread || clocks_[thread][done.thread] >= done.clock);
      race = race || (overlap && conflict && !ordered);
    }
    history_.push_back({thread, kind, offset, bytes, clocks_[thread][thread], false});
    return race;
  }

 private:
  struct Done {
    std::uint32_t thread;
    Access kind;
    std::size_t offset, bytes;
    std::uint32_t clock;
    bool other_block;
  };

  explicit Model(std::vector<Done> history) : Model() { history_ = std::move(history); }

  std::vector<std::vector<std::uint32_t>> clocks_;
  std::vector<Done> history_;
};

enum class What : std::uint8_t { access, warp_barrier, block_barrier, next_block };

std::uint32_t lanes_of(std::uint32_t warp) {
  const std::uint32_t lanes = kThreads - warp * 32;
  return lanes >= 32 ? ~0u : (1u << lanes) - 1;
}

/// Threads that are likely to meet again: few, of two warps.
std::uint32_t draw_thread() {
  return *rc::gen::element<std::uint32_t>(0, 1, 2, 31, 32, 33, 64, 66);
}

enum class Masks : std::uint8_t { nested, any };

/// Runs random accesses and barriers until the model or the shadow sees a race: both at the same access, or,
/// where masks overlap, the shadow no later than the model.
void agree(bool many_blocks, Masks masks) {
  Order order;
  order.launch_begins(kThreads);
  order.block_begins();
  RaceShadow shadow(kBytes);
  Model model;
  const int steps = *rc::gen::inRange(1, 200);
  // Mostly reads, or races would end everything after a few steps.
  const bool reads = *rc::gen::arbitrary<bool>();
  for (int step = 0; step < steps; ++step) {
    const What what = *rc::gen::weightedElement<What>({{6, What::access},
                                                       {4, What::warp_barrier},
                                                       {1, What::block_barrier},
                                                       {many_blocks ? 1u : 0u, What::next_block}});
    if (what == What::block_barrier || what == What::next_block) {
      std::vector<std::uint32_t> all(kThreads);
      for (std::uint32_t thread = 0; thread < kThreads; ++thread) {
        all[thread] = thread;
      }
      if (what == What::block_barrier) {
        order.block_synchronised();
        model.synchronise(all);
      } else {
        order.block_begins();
        model.next_block();
      }
    } else if (what == What::warp_barrier) {
      const std::uint32_t warp = *rc::gen::inRange(0u, 3u);
      const std::uint32_t drawn =
          masks == Masks::nested
              ? *rc::gen::element<std::uint32_t>(~0u, 0b011, 0b111, 1u << 31 | 1u << 30, 0xffff)
              : *rc::gen::element<std::uint32_t>(~0u, 0b011, 0b110, 0b101, 1u << 31 | 1);
      const std::uint32_t mask = drawn & lanes_of(warp);
      std::vector<std::uint32_t> threads;
      for (std::uint32_t lane = 0; lane < 32; ++lane) {
        if ((mask >> lane & 1) != 0) {
          threads.push_back(warp * 32 + lane);
        }
      }
      order.warp_synchronised(warp, mask);
      model.synchronise(threads);
    } else {
      const std::uint32_t thread = draw_thread();
      const Access kind = *rc::gen::weightedElement<Access>(
          {{reads ? 12u : 2u, Access::read}, {1, Access::write}, {1, Access::atomic}});
      const std::size_t bytes = *rc::gen::element<std::size_t>(1, 2, 4, 4, 4, 8, 16);
      const std::size_t offset = *rc::gen::inRange<std::size_t>(0, kBytes / bytes) * bytes;
      order.set_thread(thread);
      const std::uint64_t floor = order.launch_begin();
      Conflict who;
      const bool found = kind == Access::read    ? shadow.read(order, floor, offset, bytes, 0, who)
                         : kind == Access::write ? shadow.write(order, floor, offset, bytes, 0, who)
                                                 : shadow.atomic(order, floor, offset, bytes, 0, who);
      const bool expected = model.access(thread, kind, offset, bytes);
      RC_ASSERT(found == expected || (found && masks == Masks::any));
      if (found) {
        RC_ASSERT(who.thread != thread || who.epoch < order.block_begin());
        RC_TAG("race");
        return;
      }
    }
  }
}

RC_GTEST_PROP(RaceShadow, FindsARaceExactlyWhereNoChainOfBarriersOrdersTwoThreads, ()) {
  agree(false, Masks::nested);
}
RC_GTEST_PROP(RaceShadow, TakesBlocksOfALaunchAsUnordered, ()) {
  agree(true, Masks::nested);
}
RC_GTEST_PROP(RaceShadow, MissesNoRaceWhereMasksOverlap, ()) {
  agree(false, Masks::any);
}

TEST(RaceShadow, ForgetsEarlierLaunches) {
  Order order;
  RaceShadow shadow(64);
  Conflict who;
  for (std::uint32_t launch = 0; launch < 3; ++launch) {
    order.launch_begins(32);
    order.block_begins();
    order.set_thread(launch);
    EXPECT_FALSE(shadow.write(order, order.launch_begin(), 0, 4, 0, who));
    EXPECT_FALSE(shadow.read(order, order.launch_begin(), 0, 4, 0, who));
  }
}

TEST(RaceShadow, TakesACopyInFlightAsAWriteUntilItLands) {
  Order order;
  RaceShadow shadow(64);
  Conflict who;
  order.launch_begins(64);
  order.block_begins();
  order.set_thread(3);
  EXPECT_FALSE(shadow.issue(order, order.block_begin(), 16, 16, 7, who));
  order.block_synchronised();
  order.set_thread(3);
  EXPECT_TRUE(shadow.read(order, order.block_begin(), 16, 4, 0, who)) << "its own thread's as well";
  EXPECT_TRUE(who.in_flight);
  EXPECT_EQ(who.site, 7u);
  EXPECT_FALSE(shadow.read(order, order.block_begin(), 12, 4, 0, who)) << "the bytes before";
  shadow.landed(order, 16, 16);
  EXPECT_FALSE(shadow.read(order, order.block_begin(), 16, 4, 0, who));
  order.set_thread(4);
  EXPECT_TRUE(shadow.read(order, order.block_begin(), 16, 4, 0, who)) << "no barrier since it landed";
  EXPECT_FALSE(who.in_flight);
  order.block_synchronised();
  order.set_thread(4);
  EXPECT_FALSE(shadow.read(order, order.block_begin(), 16, 4, 0, who));
}

TEST(RaceShadow, EndsCopiesInFlightWithTheirBlock) {
  Order order;
  RaceShadow shadow(64);
  Conflict who;
  order.launch_begins(32);
  order.block_begins();
  order.set_thread(3);
  EXPECT_FALSE(shadow.issue(order, order.block_begin(), 0, 16, 0, who));
  order.block_begins();
  order.set_thread(4);
  EXPECT_FALSE(shadow.write(order, order.block_begin(), 0, 16, 0, who));
}

}  // namespace
}  // namespace pagelab::emu
