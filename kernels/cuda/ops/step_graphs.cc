#include "kernels/cuda/ops/step_graphs.h"

#include <algorithm>
#include <iterator>

#include "kernels/cuda/status.h"

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {
namespace {

std::uint64_t hash_of(std::span<const std::uint64_t> words) {
  std::uint64_t hash = 0x9e3779b97f4a7c15;
  for (const std::uint64_t word : words) {  // the mixing step of splitmix64
    hash = (hash ^ word) * 0xbf58476d1ce4e5b9;
    hash ^= hash >> 29;
  }
  return hash;
}

}  // namespace

StepGraphs::~StepGraphs() {
  for (const Graph& graph : graphs_) {
    cudaGraphExecDestroy(graph.executable);
  }
}

bool StepGraphs::run(const CommandList& commands, cudaStream_t stream) {
  const auto signature = commands.signature();
  const std::uint64_t hash = hash_of(signature);
  const auto known = std::ranges::find_if(graphs_, [&](const Graph& graph) {
    return graph.hash == hash && std::ranges::equal(graph.signature, signature);
  });
  if (known != graphs_.end()) {
    graphs_.splice(graphs_.begin(), graphs_, known);
    ++replays_;
  } else if (seen(hash)) {
    capture(hash, commands, stream);
  } else {
    return false;
  }
  check(cudaGraphLaunch(graphs_.front().executable, stream), "cudaGraphLaunch");
  return true;
}

bool StepGraphs::seen(std::uint64_t hash) {
  if (std::ranges::find(recent_, hash) != recent_.end()) {
    return true;
  }
  recent_[next_recent_] = hash;
  next_recent_ = (next_recent_ + 1) % kRemembered;
  return false;
}

void StepGraphs::capture(std::uint64_t hash, const CommandList& commands, cudaStream_t stream) {
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
  cudaGraph_t graph = nullptr;
  try {
    for (const CommandList::Command& command : commands.commands()) {
      command.run(command.call, stream);
    }
  } catch (...) {
    if (cudaStreamEndCapture(stream, &graph) == cudaSuccess) {
      cudaGraphDestroy(graph);
    }
    throw;
  }
  check(cudaStreamEndCapture(stream, &graph), "cudaStreamEndCapture");
  cudaGraphExec_t executable = nullptr;
  const cudaError_t status = cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  check(status, "cudaGraphInstantiate");
  if (graphs_.size() == kMostGraphs) {
    cudaGraphExecDestroy(graphs_.back().executable);
    graphs_.pop_back();
  }
  graphs_.push_front({hash, {commands.signature().begin(), commands.signature().end()}, executable});
}

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
