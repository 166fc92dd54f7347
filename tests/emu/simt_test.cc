#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <set>
#include <stdexcept>
#include <vector>

#include "kernels/emu/device.h"
#include "tests/emu/simt_fixture.h"

namespace pagelab::testing {
namespace {

using Kind = emu::KernelError::Kind;

RC_GTEST_PROP(Launch, EveryThreadRunsOnceWithItsIndices, ()) {
  const auto extent = [](std::uint32_t x, std::uint32_t y, std::uint32_t z) {
    return emu::Extent{*rc::gen::inRange(1u, x), *rc::gen::inRange(1u, y), *rc::gen::inRange(1u, z)};
  };
  const emu::Extent grid = extent(5, 4, 4);
  const emu::Extent block = extent(41, 5, 5);
  emu::set_schedule(*rc::gen::inRange<std::uint64_t>(0, 4));
  std::vector<int> runs(grid.count() * block.count());
  emu::run({grid, block, 0, "test"}, [&] {
    RC_ASSERT(blockDim.x == block.x && blockDim.y == block.y && blockDim.z == block.z);
    RC_ASSERT(gridDim.x == grid.x && gridDim.y == grid.y && gridDim.z == grid.z);
    const auto thread = threadIdx.x + block.x * (threadIdx.y + block.y * threadIdx.z);
    const auto index = blockIdx.x + grid.x * (blockIdx.y + grid.y * blockIdx.z);
    RC_ASSERT(emu::this_thread()->linear == thread && emu::this_thread()->lane == thread % 32);
    ++runs[index * block.count() + thread];
  });
  RC_ASSERT(runs == std::vector<int>(runs.size(), 1));
  emu::set_schedule(0);
}

/// The order in which threads pass the phases of a kernel with a barrier and shuffles.
std::vector<std::uint32_t> order_of_threads(std::uint64_t seed) {
  std::vector<std::uint32_t> order;
  emu::set_schedule(seed);
  emu::run({{3}, {96}, 0, "test"}, [&] {
    for (int round = 0; round < 2; ++round) {
      order.push_back(blockIdx.x * 1000 + threadIdx.x);
      __syncthreads();
      order.push_back(blockIdx.x * 1000 + threadIdx.x);
      __syncwarp();
    }
  });
  emu::set_schedule(0);
  return order;
}

TEST(Schedule, IsInThreadOrderUnlessSeeded) {
  const auto order = order_of_threads(0);
  for (std::uint32_t index = 0; index < 96; ++index) {
    EXPECT_EQ(order[index], index);
  }
}

TEST(Schedule, SameSeedRepeatsExactlyAndOthersDiffer) {
  std::set<std::vector<std::uint32_t>> orders;
  for (const std::uint64_t seed : {0, 1, 2, 3}) {
    const auto order = order_of_threads(seed);
    EXPECT_EQ(order, order_of_threads(seed));
    orders.insert(order);
  }
  EXPECT_EQ(orders.size(), 4u);
}

TEST(Schedule, DoesNotChangeTheResultOfASynchronisedReduction) {
  under_schedules([] {
    int total = 0;
    launch(
        256,
        [&] {
          auto* partial = reinterpret_cast<int*>(emu::shared_memory());
          partial[threadIdx.x] = static_cast<int>(threadIdx.x);
          for (unsigned half = 128; half > 0; half /= 2) {
            __syncthreads();
            if (threadIdx.x < half) {
              partial[threadIdx.x] += partial[threadIdx.x + half];
            }
          }
          if (threadIdx.x == 0) {
            total = partial[0];
          }
        },
        1024);
    EXPECT_EQ(total, 255 * 256 / 2);
  });
}

TEST(Barrier, DoesNotWaitForThreadsThatHaveExited) {
  under_schedules([] {
    int passed = 0;
    launch(100, [&] {
      if (threadIdx.x % 3 == 0) {
        return;
      }
      __syncthreads();
      ++passed;
    });
    EXPECT_EQ(passed, 66);
  });
}

TEST(Barrier, ReportsThreadsAtDifferentBarriersWithBothLines) {
  under_schedules([] {
    int first = 0;
    int second = 0;
    const Failure failure = failure_of(64, [&] {
      if (threadIdx.x < 40) {
        first = __LINE__ + 1;
        __syncthreads();
      } else {
        second = __LINE__ + 1;
        __syncthreads();
      }
    });
    EXPECT_EQ(failure.kind, Kind::barrier);
    EXPECT_TRUE(failure.mentions_line(first) && failure.mentions_line(second)) << failure.report;
    EXPECT_TRUE(failure.mentions("simt_test.cc") && failure.mentions("block (0,0,0) thread ("))
        << failure.report;
  });
}

TEST(Barrier, ReportsThreadsThatWaitElsewhere) {
  under_schedules([] {
    const Failure failure = failure_of(32, [] {
      if (threadIdx.x < 16) {
        __syncthreads();
      }
      __syncwarp();
    });
    EXPECT_EQ(failure.kind, Kind::barrier) << failure.report;
  });
}

TEST(Launch, GoesOnAfterAFailedOne) {
  under_schedules([] {
    for (int round = 0; round < 3; ++round) {
      EXPECT_EQ(failure_of(128, [] { threadIdx.x == 77 ? __syncwarp(1) : __syncthreads(); }).kind,
                Kind::collective);
      int passed = 0;
      launch(128, [&] {
        __syncthreads();
        ++passed;
      });
      EXPECT_EQ(passed, 128);
    }
  });
}

TEST(Launch, EndsWithWhatAThreadThrows) {
  EXPECT_THROW(launch(64,
                      [] {
                        __syncthreads();
                        if (threadIdx.x == 5) {
                          throw std::out_of_range("thread 5");
                        }
                        __syncthreads();
                      }),
               std::out_of_range);
  EXPECT_EQ(emu::this_thread(), nullptr);
}

TEST(Launch, RefusesShapesBeyondTheDevice) {
  const auto shape = [](emu::Extent grid, emu::Extent block, std::size_t bytes) {
    return [=] { emu::run({grid, block, bytes, "test"}, [] {}); };
  };
  EXPECT_NO_THROW(shape({1}, {1024}, 163 * 1024)());
  EXPECT_THROW(shape({1}, {1024, 2}, 0)(), std::invalid_argument);
  EXPECT_THROW(shape({1}, {1, 1, 65}, 0)(), std::invalid_argument);
  EXPECT_THROW(shape({1, 65536}, {1}, 0)(), std::invalid_argument);
  EXPECT_THROW(shape({1}, {0}, 0)(), std::invalid_argument);
  EXPECT_THROW(shape({1}, {1}, 163 * 1024 + 1)(), std::invalid_argument);
  EXPECT_THROW(launch(1, [] { launch(1, [] {}); }), std::logic_error);
}

TEST(Atomics, ReturnTheValueBefore) {
  under_schedules([] {
    int sum = 0;
    unsigned largest = 0;
    float total = 0;
    std::set<int> before;
    launch(200, [&] {
      before.insert(atomicAdd(&sum, 2));
      atomicMax(&largest, threadIdx.x * 7 % 200);
      atomicAdd(&total, 0.5f);
    });
    EXPECT_EQ(sum, 400);
    EXPECT_EQ(before.size(), 200u);
    EXPECT_EQ(*before.rbegin(), 398);
    EXPECT_EQ(largest, 199u);
    EXPECT_EQ(total, 100.0f);
  });
}

TEST(Atomics, ALockWithinTheBlockIsTakenByAll) {
  under_schedules([] {
    int lock = 0;
    int inside = 0;
    launch(96, [&] {
      while (atomicCAS(&lock, 0, 1) != 0) {
      }
      ++inside;
      atomicExch(&lock, 0);
    });
    EXPECT_EQ(inside, 96);
  });
}

TEST(Atomics, ALoopThatNothingEndsIsAHang) {
  int flag = 0;
  const Failure failure = failure_of(1, [&] {
    while (atomicAdd(&flag, 0) == 0) {
    }
  });
  EXPECT_EQ(failure.kind, Kind::hang);
  EXPECT_TRUE(failure.mentions("simt_test.cc")) << failure.report;
}

TEST(SharedMemory, IsPoisonInEveryBlockAndAligned) {
  emu::run({{3}, {1}, 100, "test"}, [] {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(emu::shared_memory()) % 128, 0u);
    EXPECT_EQ(emu::shared_bytes(), 100u);
    for (std::size_t index = 0; index < 100; ++index) {
      EXPECT_EQ(emu::shared_memory()[index], std::byte{0xff});
      emu::shared_memory()[index] = std::byte{0};
    }
  });
}

// Volatile, lest the compiler drop accesses that the machine is to see.
[[gnu::noinline]] void write_byte(void* base, std::ptrdiff_t offset) {
  static_cast<volatile char*>(base)[offset] = 1;
}

TEST(SharedMemory, HasAGuardPageBehindIt) {
  under_schedules([] {
    const Failure failure = failure_of(
        64,
        [] {
          __syncthreads();
          if (threadIdx.x == 33) {
            write_byte(emu::shared_memory(), 256);
          }
          __syncthreads();
        },
        256);
    EXPECT_EQ(failure.kind, Kind::illegal_address);
    EXPECT_TRUE(failure.mentions("thread (33,0,0)") && failure.mentions("shared memory")) << failure.report;
  });
}

TEST(SharedMemory, AWriteBetweenItsEndAndTheGuardPageIsFound) {
  EXPECT_EQ(failure_of(
                1, [] { write_byte(emu::shared_memory(), 100); }, 100)
                .kind,
            Kind::illegal_address);
}

TEST(Faults, EndTheLaunchAndNameTheThread) {
  const Failure failure = failure_of(64, [] {
    if (threadIdx.x == 7) {
      write_byte(reinterpret_cast<void*>(64), 0);
    }
  });
  EXPECT_EQ(failure.kind, Kind::illegal_address);
  EXPECT_TRUE(failure.mentions("thread (7,0,0) accesses 0x40")) << failure.report;
}

// Deeper than any stack.
int recurse(int depth) {
  volatile int frame[256];
  frame[0] = depth;
  return depth == 0 ? frame[0] : recurse(depth - 1) + frame[0];
}

TEST(Faults, AStackOverflowIsReportedAsSuch) {
  const Failure failure = failure_of(2, [] {
    __syncthreads();
    recurse(1 << 20);
  });
  EXPECT_EQ(failure.kind, Kind::illegal_address);
  EXPECT_TRUE(failure.mentions("stack")) << failure.report;
}

}  // namespace
}  // namespace pagelab::testing
