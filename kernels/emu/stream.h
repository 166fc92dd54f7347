// Streams, events and graphs of the emulated device: what each operation comes after, by CUDA's rules (CUDA
// C++ Programming Guide: streams, default stream, graphs by stream capture). Which of the orders that these
// rules allow really happens is WorkQueue's choice.
//
// Streams owns its streams; events and graphs belong to the caller (runtime.cc). Sticky errors, kernels and
// memory are none of its business. Not modelled: priorities, the per-thread default stream, external events
// in graphs.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include "kernels/emu/work_queue.h"

namespace pagelab::emu {

/// What a capture recorded. Nodes come after nodes of smaller index only; each may run many times.
struct Graph {
  struct Node {
    std::function<void()> work;
    std::vector<std::size_t> after;
  };
  std::vector<Node> nodes;
};

struct GraphExec {
  std::shared_ptr<const Graph> graph;
  OperationPtr last_launch;  ///< launches of one executable graph never overlap
};

struct Stream;

struct Capture {
  Graph graph;
  Stream* origin = nullptr;
  bool relaxed = false;  ///< calls that might synchronise are allowed meanwhile
  bool valid = true;
};
using CapturePtr = std::shared_ptr<Capture>;

struct Stream {
  bool blocking = true;               ///< synchronises with the legacy default stream
  OperationPtr tail;                  ///< its newest operation
  CapturePtr capture;                 ///< null: not capturing
  std::vector<std::size_t> frontier;  ///< while capturing: the nodes that the next one comes after
};

struct Event {
  bool timed = true;
  OperationPtr recorded;  ///< null: never recorded, or captured
  std::weak_ptr<Capture> capture;
  bool captured = false;
  std::vector<std::size_t> frontier;  ///< of the capturing stream when it was recorded
};

class Streams {
 public:
  WorkQueue& queue() { return queue_; }

  Stream& create(bool blocking);
  /// Its pending work still runs.
  void destroy(Stream& stream);
  /// Null if there is no such stream; null handles and cudaStreamLegacy are the legacy default stream.
  Stream* find(cudaStream_t handle);

  /// Queues `work` (may be empty) on a stream, or adds it to the graph that the stream captures; `queued`, if
  /// given, gets the operation, or null when captured.
  cudaError_t enqueue(Stream& stream, std::function<void()> work, OperationPtr* queued = nullptr);
  cudaError_t record(Event& event, Stream& stream);
  cudaError_t wait(Stream& stream, const Event& event);
  /// Waits for everything that the stream has been given.
  cudaError_t synchronise(Stream& stream);
  cudaError_t query(Stream& stream);

  cudaError_t begin_capture(Stream& stream, bool relaxed);
  /// On failure the capture is over as well and `graph` untouched.
  cudaError_t end_capture(Stream& stream, Graph& graph);
  cudaError_t launch(GraphExec& executable, Stream& stream);
  /// Asked by calls that are of no stream: an error, which ends the capture, if one that is not relaxed is
  /// going on.
  cudaError_t forbid_strict_capture();
  /// Asked by calls that wait for all streams: the same for any capture.
  cudaError_t forbid_any_capture();

 private:
  bool capturing(const Capture& capture) const;
  std::vector<OperationPtr> dependencies(const Stream& stream) const;
  /// An error if there are captures for which `concerned` holds; they are over.
  template <class Predicate>
  cudaError_t end_captures(Predicate concerned);
  void leave_capture(const Capture& capture);
  cudaError_t enqueue_captured(Stream& stream, std::function<void()> work);
  /// An error, which ends the capture, if `stream` captures.
  cudaError_t forbid_capturing(Stream& stream);
  /// An error, which ends the capture, if `stream` is the legacy stream while a blocking one captures.
  cudaError_t forbid_implicit(const Stream& stream);

  WorkQueue queue_;
  Stream legacy_;
  std::vector<std::unique_ptr<Stream>> streams_;
  std::vector<OperationPtr> orphans_;  ///< newest operations of destroyed blocking streams
};

}  // namespace pagelab::emu
