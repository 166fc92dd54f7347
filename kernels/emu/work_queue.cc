#include "kernels/emu/work_queue.h"

#include <algorithm>
#include <utility>

namespace pagelab::emu {
namespace {

void finish(Operation& operation) {
  operation.done = true;
  operation.ended = std::chrono::steady_clock::now();
  operation.work = nullptr;
  operation.after.clear();
}

bool ready(const Operation& operation) {
  return std::ranges::all_of(operation.after, [](const OperationPtr& other) { return other->done; });
}

/// `last` and all that it needs, in the order of queueing.
std::vector<OperationPtr> needed_for(const OperationPtr& last) {
  std::map<std::uint64_t, OperationPtr> needed{{last->number, last}};
  std::vector<OperationPtr> unexplored{last};
  while (!unexplored.empty()) {
    const OperationPtr operation = std::move(unexplored.back());
    unexplored.pop_back();
    for (const OperationPtr& other : operation->after) {
      if (!other->done && needed.emplace(other->number, other).second) {
        unexplored.push_back(other);
      }
    }
  }
  std::vector<OperationPtr> ordered;
  ordered.reserve(needed.size());
  for (auto& entry : needed) {
    ordered.push_back(std::move(entry.second));
  }
  return ordered;
}

}  // namespace

void WorkQueue::set_order(StreamOrder order, std::uint64_t seed) {
  complete_all();
  order_ = order;
  random_.seed(seed);
}

OperationPtr WorkQueue::add(std::function<void()> work, std::vector<OperationPtr> after) {
  std::erase_if(after, [](const OperationPtr& other) { return other == nullptr || other->done; });
  auto operation = std::make_shared<Operation>();
  operation->number = ++last_number_;
  operation->work = std::move(work);
  operation->after = std::move(after);
  pending_.emplace(operation->number, operation);
  if (order_ == StreamOrder::eager) {
    run(operation);
  } else if (order_ == StreamOrder::random) {
    run_some();
  }
  return operation;
}

void WorkQueue::complete(const OperationPtr& operation) {
  if (operation->done) {
    return;
  }
  if (order_ == StreamOrder::random) {
    while (!operation->done) {
      run_any();
    }
    return;
  }
  for (const OperationPtr& needed : needed_for(operation)) {
    run(needed);
  }
}

void WorkQueue::complete_all() {
  while (!pending_.empty()) {
    order_ == StreamOrder::random ? run_any() : run(pending_.begin()->second);
  }
}

bool WorkQueue::poll(const OperationPtr& operation) {
  if (!operation->done && order_ == StreamOrder::random) {
    run_some();
  } else if (!operation->done && std::exchange(operation->asked, true)) {
    complete(operation);
  }
  return operation->done;
}

void WorkQueue::drop() {
  for (auto& [number, operation] : std::exchange(pending_, {})) {
    finish(*operation);
  }
}

// By value: it must live on when it leaves the queue.
void WorkQueue::run(OperationPtr operation) {  // NOLINT(performance-unnecessary-value-param)
  pending_.erase(operation->number);
  if (operation->work) {
    running_ = true;
    try {
      operation->work();
    } catch (...) {
      running_ = false;
      finish(*operation);
      drop();
      throw;
    }
    running_ = false;
  }
  finish(*operation);
}

void WorkQueue::run_any() {
  std::vector<OperationPtr> candidates;
  for (const auto& [number, operation] : pending_) {
    if (ready(*operation)) {
      candidates.push_back(operation);
    }
  }
  run(candidates[random_() % candidates.size()]);
}

void WorkQueue::run_some() {
  while (!pending_.empty() && random_() % 2 == 0) {
    run_any();
  }
}

}  // namespace pagelab::emu
