// BlockMoves: the swap traffic of a step, on a copy stream of its own. A block that goes out is copied after
// all that was queued before and before this step's kernels may overwrite it; one that comes in is there
// before it is read: the moves run between start() and join() of the compute stream, which is free to work on
// what needs no block meanwhile. Moves run in the order in which they were asked for, those of the next step
// after them, so a host block can be used again at once. Owns the copy stream; borrows the pools and the
// uploads.
#pragma once

#include <cuda_runtime.h>

#include <span>
#include <vector>

#include "kernels/cuda/ops/kv_pools.h"
#include "kernels/cuda/ops/make_cuda_ops.h"
#include "kernels/cuda/ops/step_uploads.h"
#include "kernels/cuda/ops/stream.h"
#include "kernels/cuda/ops/timers.h"

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {

class BlockMoves {
 public:
  enum class Direction : std::uint8_t { out, in };

  explicit BlockMoves(SwapMode mode) : mode_(mode) {}

  /// Asks for these moves; `uploads` takes the list to the device.
  void add(Direction direction, std::span<const BlockCopy> copies, StepUploads& uploads);
  bool empty() const { return moves_.empty(); }

  /// Queues what was asked for, after all that is queued on `compute` now.
  void start(cudaStream_t compute, const KvPools& pools);
  /// What is queued on `compute` from now on waits for the moves. Does nothing if nothing was started.
  void join(cudaStream_t compute);

  /// Adds the time that the moves took. Requires that they are done.
  void collect(OpSeconds& seconds) { timer_.collect(seconds); }

 private:
  struct Move {
    Direction direction;
    const BlockCopy* on_device;
    std::size_t first, count;  ///< in copies_
  };

  void move_batch(const Move& move, const KvPools& pools);
  void move_each(const Move& move, const KvPools& pools);

  SwapMode mode_;
  Stream stream_;
  StreamTimer timer_{stream_};
  Event ready_{cudaEventDisableTiming};
  Event done_{cudaEventDisableTiming};
  bool started_ = false;
  std::vector<Move> moves_;
  std::vector<BlockCopy> copies_;
};

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
