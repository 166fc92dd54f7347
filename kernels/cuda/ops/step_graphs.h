// StepGraphs: steps as CUDA graphs. Steps of a stable shape, as decoding gives them, queue the same launches
// with the same arguments again and again; only the arrays that they read differ. Such a step is captured
// when it comes for the second time and replayed from then on, which costs one call instead of one per
// kernel. A step is known by the signature of its commands, compared whole, so a replay does what the
// commands would. Owns the graphs, the oldest of which give way.
#pragma once

#include <cuda_runtime.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <list>
#include <span>
#include <vector>

#include "kernels/cuda/ops/command_list.h"

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {

class StepGraphs {
 public:
  StepGraphs() = default;
  ~StepGraphs();
  StepGraphs(const StepGraphs&) = delete;
  StepGraphs& operator=(const StepGraphs&) = delete;

  /// Queues the commands as a graph, if they were seen before; false if they are new and nothing was queued.
  bool run(const CommandList& commands, cudaStream_t stream);

  /// Steps that were replayed.
  std::int64_t replays() const { return replays_; }

 private:
  static constexpr std::size_t kMostGraphs = 64;
  static constexpr std::size_t kRemembered = 256;

  struct Graph {
    std::uint64_t hash;
    std::vector<std::uint64_t> signature;
    cudaGraphExec_t executable;
  };

  /// Whether a step of this hash was among the last ones; remembers it.
  bool seen(std::uint64_t hash);
  /// Makes the commands the first of graphs_.
  void capture(std::uint64_t hash, const CommandList& commands, cudaStream_t stream);

  std::list<Graph> graphs_;  ///< the one used last comes first
  std::array<std::uint64_t, kRemembered> recent_{};
  std::size_t next_recent_ = 0;
  std::int64_t replays_ = 0;
};

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
