// The thread pool hands out every item once, whatever the numbers of items and threads.
#include "kernels/cpu/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <numeric>
#include <thread>
#include <vector>

namespace pagelab::kernels::cpu {
namespace {

TEST(ThreadPool, RunsEveryItemExactlyOnce) {
  for (const int threads : {1, 2, 4, 9}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (const std::int64_t count : {1, 2, 3, 8, 1000}) {
      std::vector<std::atomic<int>> runs(static_cast<std::size_t>(count));
      pool.for_each(count, [&](std::int64_t item, int) { ++runs[item]; });
      for (std::int64_t item = 0; item < count; ++item) {
        EXPECT_EQ(runs[item], 1) << item << " of " << count << ", " << threads << " threads";
      }
    }
  }
}

TEST(ThreadPool, NoItemsRunNothing) {
  ThreadPool pool(2);
  pool.for_each(0, [](std::int64_t, int) { FAIL(); });
}

TEST(ThreadPool, WorkersAreNumberedBelowTheNumberOfThreadsAndNeverShared) {
  ThreadPool pool(3);
  std::vector<std::atomic<int>> inside(3);
  std::atomic<bool> shared = false;
  pool.for_each(3000, [&](std::int64_t, int worker) {
    ASSERT_GE(worker, 0);
    ASSERT_LT(worker, 3);
    shared = shared || inside[worker].fetch_add(1) != 0;
    inside[worker].fetch_sub(1);
  });
  EXPECT_FALSE(shared);
}

TEST(ThreadPool, WritesOfTheItemsAreVisibleAfterTheLoopAndBeforeTheNext) {
  ThreadPool pool(4);
  std::vector<std::int64_t> values(64, 0);  // plain memory: ThreadSanitizer sees a missing order
  std::vector<std::int64_t> next(64, 0);
  for (int round = 0; round < 5000; ++round) {
    pool.for_each(64, [&](std::int64_t item, int) { next[item] = values[(item * 7 + 1) % 64] + 1; });
    pool.for_each(64, [&](std::int64_t item, int) { values[item] = next[item]; });
  }
  EXPECT_EQ(std::accumulate(values.begin(), values.end(), std::int64_t{0}), 64 * 5000);
}

TEST(ThreadPool, AllThreadsTakePartInALongLoop) {
  ThreadPool pool(2);
  std::vector<std::atomic<int>> taken(2);
  // Items that wait until both workers have one can only end if both take part.
  pool.for_each(2, [&](std::int64_t, int worker) {
    ++taken[worker];
    while (taken[0] + taken[1] < 2) {
      std::this_thread::yield();
    }
  });
  EXPECT_EQ(taken[0], 1);
  EXPECT_EQ(taken[1], 1);
}

TEST(ThreadPool, WorkersThatFellAsleepWakeForTheNextLoop) {
  ThreadPool pool(2);
  for (int round = 0; round < 10; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    std::atomic<int> present = 0;
    pool.for_each(2, [&](std::int64_t, int) {
      ++present;
      while (present < 2) {
        std::this_thread::yield();
      }
    });
    EXPECT_EQ(present, 2);
  }
}

TEST(ThreadPool, PoolsComeAndGo) {
  for (int round = 0; round < 200; ++round) {
    ThreadPool pool(3);
    if (round % 2 == 0) {
      std::atomic<int> runs = 0;
      pool.for_each(5, [&](std::int64_t, int) { ++runs; });
      EXPECT_EQ(runs, 5);
    }
  }
}

}  // namespace
}  // namespace pagelab::kernels::cpu
