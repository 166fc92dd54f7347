// StreamTimer: how long the operations of each kind took on one stream, measured by CUDA events between them.
// Never waits: collect() is called after a synchronisation that the step needs anyway. Owns the events, which
// it uses again.
#pragma once

#include <cuda_runtime.h>

#include <array>
#include <cstddef>
#include <deque>
#include <vector>

#include "kernels/cuda/ops/stream.h"
#include "kernels/ops.h"

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {

using OpSeconds = std::array<double, static_cast<std::size_t>(OpKind::count_)>;

class StreamTimer {
 public:
  explicit StreamTimer(cudaStream_t stream) : stream_(stream) {}

  /// What is queued from now on is of this kind; neighbours of one kind are measured as one.
  void enter(OpKind kind);
  /// What is queued from now on is not measured.
  void leave();
  /// Adds what was measured since the last call. Requires that the stream has run all of it.
  void collect(OpSeconds& seconds);

 private:
  struct Interval {
    OpKind kind;
    std::size_t begin, end;  ///< events
  };

  std::size_t mark();

  cudaStream_t stream_;
  std::deque<Event> events_;
  std::size_t marked_ = 0;  ///< events in use
  std::vector<Interval> intervals_;
  bool open_ = false;  ///< the last interval has no end yet
};

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
