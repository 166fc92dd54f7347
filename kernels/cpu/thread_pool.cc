#include "kernels/cpu/thread_pool.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace pagelab::kernels::cpu {
namespace {

/// How long a worker waits awake for the next loop: longer than the gap between two operations of a step,
/// shorter than the gap between two steps of an idle engine.
constexpr std::chrono::microseconds kSpin{100};
constexpr int kPausesPerClock = 64;

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#else
  std::this_thread::yield();
#endif
}

/// Waits awake until ready() holds or kSpin has passed; says which.
template <class Ready>
bool spin_until(Ready&& ready) {
  const auto deadline = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < kPausesPerClock; ++i) {
      if (ready()) {
        return true;
      }
      pause();
    }
  } while (std::chrono::steady_clock::now() < deadline);
  return ready();
}

// The gate admits workers to a loop: [generation | open | workers inside]. A worker that wakes late finds the
// gate closed and goes on waiting, so a loop never waits for a worker that has not joined it, and the loop's
// description is never changed while a worker is inside.
constexpr std::uint64_t kOpen = std::uint64_t{1} << 16;
constexpr std::uint64_t kInside = kOpen - 1;
constexpr std::uint64_t kGeneration = kOpen << 1;

}  // namespace

struct ThreadPool::State {
  alignas(64) std::atomic<std::uint64_t> gate{0};
  alignas(64) std::atomic<std::int64_t> next{0};
  alignas(64) std::int64_t count = 0;
  Call call = nullptr;
  void* context = nullptr;

  alignas(64) std::atomic<int> sleepers{0};
  std::atomic<bool> stop{false};
  std::mutex mutex;
  std::condition_variable wake;
  std::vector<std::thread> workers;

  bool has_news(std::uint64_t last_generation) const {
    const std::uint64_t now = gate.load();
    return ((now & kOpen) != 0 && now / kGeneration != last_generation) ||
           stop.load(std::memory_order_relaxed);
  }

  void take_items(int worker) {
    for (std::int64_t item = next.fetch_add(1, std::memory_order_relaxed); item < count;
         item = next.fetch_add(1, std::memory_order_relaxed)) {
      call(context, item, worker);
    }
  }

  /// Waits for a loop newer than `last_generation`; false when the pool ends.
  bool wait_for_news(std::uint64_t last_generation) {
    const auto news = [&] { return has_news(last_generation); };
    if (!spin_until(news)) {
      std::unique_lock lock(mutex);
      sleepers.fetch_add(1);
      wake.wait(lock, news);
      sleepers.fetch_sub(1);
    }
    return !stop.load();
  }

  void work(int worker) {
    std::uint64_t last_generation = 0;
    while (wait_for_news(last_generation)) {
      std::uint64_t seen = gate.load();
      if ((seen & kOpen) != 0 && gate.compare_exchange_strong(seen, seen + 1)) {
        last_generation = seen / kGeneration;
        take_items(worker);
        gate.fetch_sub(1);
      }
    }
  }

  void wake_sleepers() {
    if (sleepers.load() > 0) {
      { const std::lock_guard lock(mutex); }
      wake.notify_all();
    }
  }
};

ThreadPool::ThreadPool(int threads) : state_(std::make_unique<State>()) {
  for (int worker = 1; worker < threads; ++worker) {
    state_->workers.emplace_back([state = state_.get(), worker] { state->work(worker); });
  }
}

ThreadPool::~ThreadPool() {
  state_->stop.store(true);
  state_->wake_sleepers();
  for (std::thread& worker : state_->workers) {
    worker.join();
  }
}

int ThreadPool::threads() const {
  return static_cast<int>(state_->workers.size()) + 1;
}

void ThreadPool::run(std::int64_t count, Call call, void* context) {
  State& state = *state_;
  if (count <= 1 || state.workers.empty()) {
    for (std::int64_t item = 0; item < count; ++item) {
      call(context, item, 0);
    }
    return;
  }
  state.count = count;
  state.call = call;
  state.context = context;
  state.next.store(0, std::memory_order_relaxed);
  const std::uint64_t generation = state.gate.load(std::memory_order_relaxed) / kGeneration + 1;
  state.gate.store(generation * kGeneration | kOpen);
  state.wake_sleepers();
  state.take_items(0);
  state.gate.fetch_and(~kOpen);
  const auto all_left = [&] { return (state.gate.load() & kInside) == 0; };
  while (!spin_until(all_left)) {
    std::this_thread::yield();
  }
}

}  // namespace pagelab::kernels::cpu
