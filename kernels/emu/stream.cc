#include "kernels/emu/stream.h"

#include <algorithm>
#include <utility>

namespace pagelab::emu {
namespace {

void merge(std::vector<std::size_t>& into, const std::vector<std::size_t>& nodes) {
  for (const std::size_t node : nodes) {
    if (std::ranges::find(into, node) == into.end()) {
      into.push_back(node);
    }
  }
}

/// Whether every node comes before, or is one of, the nodes of `frontier`.
bool joined(const Graph& graph, const std::vector<std::size_t>& frontier) {
  std::vector<bool> reached(graph.nodes.size(), false);
  for (const std::size_t node : frontier) {
    reached[node] = true;
  }
  for (std::size_t node = graph.nodes.size(); node-- > 0;) {
    if (!reached[node]) {
      return false;
    }
    for (const std::size_t earlier : graph.nodes[node].after) {
      reached[earlier] = true;
    }
  }
  return true;
}

}  // namespace

Stream& Streams::create(bool blocking) {
  streams_.push_back(std::make_unique<Stream>());
  streams_.back()->blocking = blocking;
  return *streams_.back();
}

void Streams::destroy(Stream& stream) {
  if (const CapturePtr capture = stream.capture; capture != nullptr) {
    capture->valid = false;
    if (capture->origin == &stream) {
      leave_capture(*capture);
    }
  }
  std::erase_if(orphans_, [](const OperationPtr& operation) { return operation->done; });
  if (stream.blocking && stream.tail != nullptr) {
    orphans_.push_back(stream.tail);
  }
  std::erase_if(streams_, [&](const auto& owned) { return owned.get() == &stream; });
}

Stream* Streams::find(cudaStream_t handle) {
  if (handle == nullptr || handle == cudaStreamLegacy) {
    return &legacy_;
  }
  const auto found = std::ranges::find(streams_, reinterpret_cast<Stream*>(handle),
                                       [](const auto& owned) { return owned.get(); });
  return found == streams_.end() ? nullptr : found->get();
}

std::vector<OperationPtr> Streams::dependencies(const Stream& stream) const {
  std::vector<OperationPtr> after{stream.tail};
  if (&stream == &legacy_) {
    after.insert(after.end(), orphans_.begin(), orphans_.end());
    for (const auto& other : streams_) {
      if (other->blocking) {
        after.push_back(other->tail);
      }
    }
  } else if (stream.blocking) {
    after.push_back(legacy_.tail);
  }
  return after;
}

cudaError_t Streams::enqueue(Stream& stream, std::function<void()> work, OperationPtr* queued) {
  if (stream.capture != nullptr) {
    return enqueue_captured(stream, std::move(work));
  }
  if (const cudaError_t status = forbid_implicit(stream); status != cudaSuccess) {
    return status;
  }
  stream.tail = queue_.add(std::move(work), dependencies(stream));
  if (queued != nullptr) {
    *queued = stream.tail;
  }
  return cudaSuccess;
}

cudaError_t Streams::enqueue_captured(Stream& stream, std::function<void()> work) {
  Capture& capture = *stream.capture;
  if (!capture.valid) {
    return cudaErrorStreamCaptureInvalidated;
  }
  capture.graph.nodes.push_back({std::move(work), stream.frontier});
  stream.frontier = {capture.graph.nodes.size() - 1};
  return cudaSuccess;
}

cudaError_t Streams::record(Event& event, Stream& stream) {
  if (stream.capture != nullptr) {
    if (!stream.capture->valid) {
      return cudaErrorStreamCaptureInvalidated;
    }
    event.recorded = nullptr;
    event.captured = true;
    event.capture = stream.capture;
    event.frontier = stream.frontier;
    return cudaSuccess;
  }
  OperationPtr operation;
  const cudaError_t status = enqueue(stream, nullptr, &operation);
  if (status == cudaSuccess) {
    event.recorded = std::move(operation);
    event.captured = false;
  }
  return status;
}

cudaError_t Streams::wait(Stream& stream, const Event& event) {
  if (event.captured) {
    const CapturePtr capture = event.capture.lock();
    if (capture == nullptr || !capturing(*capture)) {
      return cudaErrorCapturedEvent;
    }
    if (&stream == &legacy_) {
      capture->valid = false;
      return cudaErrorStreamCaptureImplicit;
    }
    if (stream.capture != nullptr && stream.capture != capture) {
      stream.capture->valid = capture->valid = false;
      return cudaErrorStreamCaptureMerge;
    }
    if (stream.capture == nullptr) {
      stream.capture = capture;
      stream.frontier.clear();
    }
    merge(stream.frontier, event.frontier);
    return capture->valid ? cudaSuccess : cudaErrorStreamCaptureInvalidated;
  }
  if (event.recorded == nullptr) {
    return cudaSuccess;
  }
  if (stream.capture != nullptr) {
    stream.capture->valid = false;
    return cudaErrorStreamCaptureIsolation;
  }
  if (const cudaError_t status = forbid_implicit(stream); status != cudaSuccess) {
    return status;
  }
  std::vector<OperationPtr> after = dependencies(stream);
  after.push_back(event.recorded);
  stream.tail = queue_.add(nullptr, std::move(after));
  return cudaSuccess;
}

cudaError_t Streams::synchronise(Stream& stream) {
  if (const cudaError_t status = forbid_capturing(stream); status != cudaSuccess) {
    return status;
  }
  queue_.complete(queue_.add(nullptr, dependencies(stream)));
  return cudaSuccess;
}

cudaError_t Streams::query(Stream& stream) {
  if (const cudaError_t status = forbid_capturing(stream); status != cudaSuccess) {
    return status;
  }
  return stream.tail == nullptr || queue_.poll(stream.tail) ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t Streams::begin_capture(Stream& stream, bool relaxed) {
  if (&stream == &legacy_) {
    return cudaErrorStreamCaptureUnsupported;
  }
  if (stream.capture != nullptr) {
    return cudaErrorIllegalState;
  }
  stream.capture = std::make_shared<Capture>();
  stream.capture->origin = &stream;
  stream.capture->relaxed = relaxed;
  stream.frontier.clear();
  return cudaSuccess;
}

cudaError_t Streams::end_capture(Stream& stream, Graph& graph) {
  if (stream.capture == nullptr) {
    return cudaErrorIllegalState;
  }
  const CapturePtr capture = stream.capture;
  if (capture->origin != &stream) {
    capture->valid = false;
    return cudaErrorStreamCaptureUnmatched;
  }
  leave_capture(*capture);
  if (!capture->valid) {
    return cudaErrorStreamCaptureInvalidated;
  }
  if (!joined(capture->graph, stream.frontier)) {
    return cudaErrorStreamCaptureUnjoined;
  }
  graph = std::move(capture->graph);
  return cudaSuccess;
}

cudaError_t Streams::launch(GraphExec& executable, Stream& stream) {
  const std::shared_ptr<const Graph> graph = executable.graph;
  if (const cudaError_t status = forbid_capturing(stream); status != cudaSuccess) {
    return status;
  }
  std::vector<OperationPtr> start = dependencies(stream);
  start.push_back(executable.last_launch);
  const OperationPtr begin = queue_.add(nullptr, std::move(start));
  std::vector<OperationPtr> launched;
  launched.reserve(graph->nodes.size() + 1);
  for (std::size_t i = 0; i < graph->nodes.size(); ++i) {
    std::vector<OperationPtr> after{begin};
    for (const std::size_t earlier : graph->nodes[i].after) {
      after.push_back(launched[earlier]);
    }
    launched.push_back(queue_.add([graph, i] { graph->nodes[i].work(); }, std::move(after)));
  }
  launched.push_back(begin);
  executable.last_launch = stream.tail = queue_.add(nullptr, std::move(launched));
  return cudaSuccess;
}

template <class Predicate>
cudaError_t Streams::end_captures(Predicate concerned) {
  cudaError_t status = cudaSuccess;
  for (const auto& stream : streams_) {
    if (stream->capture != nullptr && concerned(*stream->capture)) {
      stream->capture->valid = false;
      status = cudaErrorStreamCaptureUnsupported;
    }
  }
  return status;
}

cudaError_t Streams::forbid_strict_capture() {
  return end_captures([](const Capture& capture) { return !capture.relaxed; });
}

cudaError_t Streams::forbid_any_capture() {
  return end_captures([](const Capture&) { return true; });
}

void Streams::leave_capture(const Capture& capture) {
  for (const auto& stream : streams_) {
    if (stream->capture.get() == &capture) {
      stream->capture = nullptr;
    }
  }
}

bool Streams::capturing(const Capture& capture) const {
  return std::ranges::any_of(streams_, [&](const auto& stream) { return stream->capture.get() == &capture; });
}

cudaError_t Streams::forbid_capturing(Stream& stream) {
  if (stream.capture == nullptr) {
    return forbid_implicit(stream);
  }
  stream.capture->valid = false;
  return cudaErrorStreamCaptureUnsupported;
}

cudaError_t Streams::forbid_implicit(const Stream& stream) {
  if (&stream == &legacy_) {
    for (const auto& other : streams_) {
      if (other->blocking && other->capture != nullptr) {
        other->capture->valid = false;
        return cudaErrorStreamCaptureImplicit;
      }
    }
  }
  return cudaSuccess;
}

}  // namespace pagelab::emu
