#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <array>
#include <cmath>
#include <string>

#include "kernels/emu/device.h"
#include "tests/emu/simt_fixture.h"

namespace pagelab::testing {
namespace {

using Kind = emu::KernelError::Kind;
constexpr unsigned kAll = 0xffffffffu;

/// What the PTX ISA says of shfl.sync (b and c operands as CUDA's intrinsics make them): the lane read.
int shuffle_source(const std::string& mode, int lane, int operand, int width) {
  const int segmask = 32 - width;
  const int clamp = mode == "up" ? 0 : 31;
  const int max_lane = (lane & segmask) | (clamp & ~segmask & 31);
  const int b = operand & 31;
  if (mode == "up") {
    return lane - b >= max_lane ? lane - b : lane;
  }
  if (mode == "down") {
    return lane + b <= max_lane ? lane + b : lane;
  }
  if (mode == "xor") {
    return (lane ^ b) <= max_lane ? lane ^ b : lane;
  }
  return (lane & segmask) | (b & ~segmask & 31);
}

RC_GTEST_PROP(Shuffle, ReadsTheLaneThatPtxNames, ()) {
  const auto mask =
      *rc::gen::suchThat(rc::gen::arbitrary<std::uint32_t>(), [](std::uint32_t m) { return m != 0; });
  const int width = 1 << *rc::gen::inRange(0, 6);
  const auto operands = *rc::gen::container<std::array<int, 32>>(rc::gen::inRange(0, 40));
  const std::string mode = *rc::gen::element<std::string>("index", "up", "down", "xor");
  emu::set_schedule(*rc::gen::inRange<std::uint64_t>(0, 4));
  std::array<double, 32> got{};
  launch(32, [&] {
    const auto lane = static_cast<int>(threadIdx.x);
    if ((mask >> lane & 1) == 0) {
      return;
    }
    const int operand = operands[lane];
    const double value = lane + 0.5;
    got[lane] = mode == "index"  ? __shfl_sync(mask, value, operand, width)
                : mode == "up"   ? __shfl_up_sync(mask, value, static_cast<unsigned>(operand), width)
                : mode == "down" ? __shfl_down_sync(mask, value, static_cast<unsigned>(operand), width)
                                 : __shfl_xor_sync(mask, value, operand, width);
  });
  for (int lane = 0; lane < 32; ++lane) {
    if ((mask >> lane & 1) != 0) {
      const int source = shuffle_source(mode, lane, operands[lane], width);
      const bool takes_part = (mask >> source & 1) != 0;
      RC_ASSERT((takes_part ? got[lane] == source + 0.5 : std::isnan(got[lane])));
    }
  }
  emu::set_schedule(0);
}

template <class T>
T rotated(T value) {
  return __shfl_sync(kAll, value, static_cast<int>(threadIdx.x + 1));
}

TEST(Shuffle, CarriesEveryTypeWhole) {
  launch(32, [] {
    const int next = static_cast<int>(threadIdx.x + 1) % 32;
    const int own = static_cast<int>(threadIdx.x);
    EXPECT_EQ(rotated(-own), -next);
    EXPECT_EQ(rotated(threadIdx.x), static_cast<unsigned>(next));
    EXPECT_EQ(rotated(static_cast<float>(own) / 3), static_cast<float>(next) / 3);
    EXPECT_EQ(rotated(own * 0.1), next * 0.1);
    EXPECT_EQ(rotated(own * -10'000'000'000LL), next * -10'000'000'000LL);
  });
}

RC_GTEST_PROP(Vote, CountsTheLanesOfItsMask, ()) {
  const auto halves = *rc::gen::arbitrary<std::uint32_t>();
  const auto votes = *rc::gen::arbitrary<std::uint32_t>();
  emu::set_schedule(*rc::gen::inRange<std::uint64_t>(0, 4));
  launch(32, [&] {
    const std::uint32_t bit = 1u << threadIdx.x;
    const std::uint32_t mask = (halves & bit) != 0 ? halves : ~halves;
    const bool vote = (votes & bit) != 0;
    // Both groups meet in one line and in two.
    const unsigned ballot = __ballot_sync(mask, vote);
    const int any = (halves & bit) != 0 ? __any_sync(mask, vote) : __any_sync(mask, vote);
    const int all = __all_sync(mask, vote);
    RC_ASSERT(ballot == (votes & mask));
    RC_ASSERT((any != 0) == ((votes & mask) != 0));
    RC_ASSERT((all != 0) == ((votes & mask) == mask));
  });
  emu::set_schedule(0);
}

TEST(Collective, OfALaneAloneNeedsNobody) {
  launch(32, [] { EXPECT_EQ(__ballot_sync(1u << threadIdx.x, 1), 1u << threadIdx.x); });
}

TEST(Collective, MasksMayOverlapInTurn) {
  under_schedules([] {
    launch(32, [] {
      float value = static_cast<float>(threadIdx.x);
      if (threadIdx.x == 1 || threadIdx.x == 2) {
        value = __shfl_sync(0b0110, value, 1);
      }
      if (threadIdx.x <= 1) {
        value = __shfl_sync(0b0011, value, 1);
      }
      EXPECT_EQ(value, threadIdx.x <= 2 ? 1.0f : static_cast<float>(threadIdx.x));
    });
  });
}

TEST(Collective, AFullMaskInTheLastWarpMeansTheThreadsThereAre) {
  under_schedules([] {
    launch(48, [] {
      EXPECT_EQ(__ballot_sync(kAll, 1), threadIdx.x < 32 ? kAll : 0xffffu);
      if (threadIdx.x >= 32) {
        EXPECT_EQ(__shfl_sync(kAll, 0, 20), -1) << "a lane that is not there";
      }
    });
  });
}

// Misuse, each with the lane or the line that the report must name.

TEST(CollectiveMisuse, ALaneOutsideOfItsMask) {
  under_schedules([] {
    const Failure failure = failure_of(32, [] { __shfl_xor_sync(0xfffffff7u, 1.0f, 1); });
    EXPECT_EQ(failure.kind, Kind::collective);
    EXPECT_TRUE(failure.mentions("thread (3,0,0)") && failure.mentions("0xfffffff7")) << failure.report;
  });
}

TEST(CollectiveMisuse, AMaskWithALaneThatHasExited) {
  under_schedules([] {
    const auto after_exit = [](auto collective) {
      return failure_of(32, [&] {
        if (threadIdx.x != 9) {
          collective();
        }
      });
    };
    for (const Failure& failure :
         {after_exit([] { __shfl_sync(kAll, 1, 0); }), after_exit([] { __shfl_up_sync(kAll, 1, 1); }),
          after_exit([] { __shfl_down_sync(kAll, 1, 1); }), after_exit([] { __shfl_xor_sync(kAll, 1, 1); }),
          after_exit([] { __ballot_sync(kAll, 1); }), after_exit([] { __any_sync(kAll, 1); }),
          after_exit([] { __all_sync(kAll, 1); }), after_exit([] { __syncwarp(); })}) {
      EXPECT_EQ(failure.kind, Kind::collective) << failure.report;
      EXPECT_TRUE(failure.mentions("collectives_test.cc:") && failure.mentions("exit")) << failure.report;
    }
  });
}

TEST(CollectiveMisuse, LanesOfOneMaskInDifferentCollectives) {
  under_schedules([] {
    int votes = 0;
    const Failure failure = failure_of(32, [&] {
      if (threadIdx.x % 2 == 0) {
        __shfl_xor_sync(kAll, 1, 1);
      } else {
        votes = __LINE__ + 1;
        __any_sync(kAll, 1);
      }
    });
    EXPECT_EQ(failure.kind, Kind::collective);
    EXPECT_TRUE(failure.mentions("shfl_xor") && failure.mentions("any")) << failure.report;
    EXPECT_TRUE(failure.mentions_line(votes) && failure.mentions_line(votes - 3)) << failure.report;
  });
}

TEST(CollectiveMisuse, LanesWithMasksThatDoNotAgree) {
  under_schedules([] {
    const Failure failure = failure_of(32, [] { __syncwarp(threadIdx.x < 16 ? kAll : 0xffff0000u); });
    EXPECT_EQ(failure.kind, Kind::collective) << failure.report;
  });
}

TEST(CollectiveMisuse, LanesThatWaitForEachOtherInACircle) {
  under_schedules([] {
    const Failure failure = failure_of(3, [] {
      const unsigned masks[3] = {0b011, 0b110, 0b101};
      __syncwarp(masks[threadIdx.x]);
      __syncwarp(masks[(threadIdx.x + 2) % 3]);
    });
    EXPECT_EQ(failure.kind, Kind::collective);
    EXPECT_TRUE(failure.mentions("no thread of the block can go on")) << failure.report;
  });
}

TEST(CollectiveMisuse, AWidthThatIsNoPowerOfTwo) {
  EXPECT_EQ(failure_of(32, [] { __shfl_sync(kAll, 1, 0, 12); }).kind, Kind::collective);
}

}  // namespace
}  // namespace pagelab::testing
