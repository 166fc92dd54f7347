#include "kernels/cuda/ops/timers.h"

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {

std::size_t StreamTimer::mark() {
  if (marked_ == events_.size()) {
    events_.emplace_back(cudaEventDefault);
  }
  events_[marked_].record(stream_);
  return marked_++;
}

void StreamTimer::enter(OpKind kind) {
  if (open_ && intervals_.back().kind == kind) {
    return;
  }
  const std::size_t now = mark();
  if (open_) {
    intervals_.back().end = now;
  }
  intervals_.push_back({kind, now, now});
  open_ = true;
}

void StreamTimer::leave() {
  if (open_) {
    intervals_.back().end = mark();
    open_ = false;
  }
}

void StreamTimer::collect(OpSeconds& seconds) {
  for (const Interval& interval : intervals_) {
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, events_[interval.begin], events_[interval.end]),
          "cudaEventElapsedTime");
    seconds[static_cast<std::size_t>(interval.kind)] += 1e-3 * static_cast<double>(milliseconds);
  }
  intervals_.clear();
  marked_ = 0;
}

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
