// The work that streams have queued: operations, each of which runs once, after those that it comes after.
// When it runs is the queue's choice, which is the point: on a GPU work runs at any time that its
// dependencies allow, and a program that is right only at some of them lacks one.
//
// The queue knows no stream and no event; stream.h turns those into dependencies.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <vector>

namespace pagelab::emu {

enum class StreamOrder : std::uint8_t {
  eager,  ///< at once
  lazy,   ///< as late as possible: when a synchronisation demands it, and then only what it demands
  random  ///< any order that dependencies allow, drawn from a seed
};

struct Operation {
  std::uint64_t number = 0;  ///< in the order of queueing
  std::function<void()> work;
  std::vector<std::shared_ptr<Operation>> after;
  bool done = false;
  bool asked = false;                           ///< poll() has said "not yet" once
  std::chrono::steady_clock::time_point ended;  ///< of the emulator's own clock: says nothing about a GPU
};
using OperationPtr = std::shared_ptr<Operation>;

class WorkQueue {
 public:
  /// Applies to work queued from now on; what is pending runs first.
  void set_order(StreamOrder order, std::uint64_t seed);
  StreamOrder order() const { return order_; }

  /// Queues `work` (may be empty: a point in time) behind the operations `after`. Work queued eagerly runs
  /// before this returns. Here and below: what `work` throws passes through, and all pending work is dropped
  /// undone, as a failed kernel takes a GPU's context with it.
  OperationPtr add(std::function<void()> work, std::vector<OperationPtr> after);
  /// Returns once `operation` is done.
  void complete(const OperationPtr& operation);
  void complete_all();
  /// Whether `operation` is done. Asking again and again makes it so: lazily at the second time, in random
  /// order after a few.
  bool poll(const OperationPtr& operation);
  /// Marks everything pending as done without running it.
  void drop();

  /// An operation runs right now, so this call comes from within it.
  bool running() const { return running_; }

 private:
  void run(OperationPtr operation);
  /// Runs an operation whose dependencies are done; there must be one.
  void run_any();
  void run_some();

  StreamOrder order_ = StreamOrder::eager;
  std::mt19937_64 random_;
  std::map<std::uint64_t, OperationPtr> pending_;  ///< by number, which is an order that dependencies allow
  std::uint64_t last_number_ = 0;
  bool running_ = false;
};

}  // namespace pagelab::emu
