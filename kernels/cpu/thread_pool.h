// A fixed set of worker threads that share out loops. The caller is one of the workers, so `threads` is the
// number of cores in use and nothing is oversubscribed. Workers spin for some microseconds for the next loop
// and then sleep, so that another process on the machine costs little and an idle engine costs nothing. Items
// are handed out dynamically. Owns its threads; knows nothing of what it runs. Loops do not nest.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>

namespace pagelab::kernels::cpu {

class ThreadPool {
 public:
  /// Requires threads >= 1.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const;

  /// Runs body(item, worker) for every item in [0, count), worker in [0, threads()). Returns when all are
  /// done. The body must not throw. Does not allocate.
  template <class Body>
  void for_each(std::int64_t count, Body&& body) {
    using Plain = std::remove_reference_t<Body>;
    run(
        count,
        [](void* context, std::int64_t item, int worker) { (*static_cast<Plain*>(context))(item, worker); },
        const_cast<void*>(static_cast<const void*>(&body)));
  }

 private:
  using Call = void (*)(void*, std::int64_t, int);
  void run(std::int64_t count, Call call, void* context);

  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace pagelab::kernels::cpu
