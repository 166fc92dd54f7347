// CUDA's calls about streams, events and graphs: handles and arguments are checked here, Streams does the
// rest.

#include <cuda_runtime.h>

#include <chrono>

#include "kernels/emu/runtime_state.h"

namespace pagelab::emu {
namespace {

cudaError_t create_stream(cudaStream_t* handle, bool blocking) {
  return cuda_call([&]() -> cudaError_t {
    if (handle == nullptr) {
      return cudaErrorInvalidValue;
    }
    *handle = reinterpret_cast<cudaStream_t>(&runtime().streams.create(blocking));
    return cudaSuccess;
  });
}

/// A call about an event: `body` is given the Event.
template <class Body>
cudaError_t event_call(cudaEvent_t handle, Body&& body) {
  return cuda_call([&]() -> cudaError_t {
    Event* event = runtime().events.find(handle);
    return event == nullptr ? cudaErrorInvalidResourceHandle : body(*event);
  });
}

/// What synchronising with an event that cannot be waited for returns; a capture that it belongs to is over.
cudaError_t check_waitable(const Event& event) {
  if (!event.captured) {
    return cudaSuccess;
  }
  if (const CapturePtr capture = event.capture.lock(); capture != nullptr) {
    capture->valid = false;
  }
  return cudaErrorCapturedEvent;
}

cudaError_t elapsed(const Event& begin, const Event& end, float& milliseconds) {
  if (!begin.timed || !end.timed || begin.recorded == nullptr || end.recorded == nullptr) {
    return cudaErrorInvalidResourceHandle;
  }
  if (!begin.recorded->done || !end.recorded->done) {
    return cudaErrorNotReady;
  }
  milliseconds =
      std::chrono::duration<float, std::milli>(end.recorded->ended - begin.recorded->ended).count();
  return cudaSuccess;
}

}  // namespace
}  // namespace pagelab::emu

namespace pagelab_emulated_cuda {

using namespace pagelab::emu;

cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  return create_stream(stream, true);
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  return (flags & ~unsigned{cudaStreamNonBlocking}) != 0
             ? leave(cudaErrorInvalidValue)
             : create_stream(stream, (flags & cudaStreamNonBlocking) == 0);
}

cudaError_t cudaStreamDestroy(cudaStream_t handle) {
  return cuda_call(
      [&]() -> cudaError_t {
        Streams& streams = runtime().streams;
        Stream* stream = streams.find(handle);
        if (stream == nullptr || stream == streams.find(nullptr)) {
          return cudaErrorInvalidResourceHandle;
        }
        streams.destroy(*stream);
        return cudaSuccess;
      },
      Raises::later);
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  return stream_call(handle, [](Stream& stream) { return runtime().streams.synchronise(stream); });
}

cudaError_t cudaStreamQuery(cudaStream_t handle) {
  return stream_call(handle, [](Stream& stream) { return runtime().streams.query(stream); });
}

cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event_handle, unsigned flags) {
  return stream_call(handle, [&](Stream& stream) -> cudaError_t {
    Event* event = runtime().events.find(event_handle);
    if (event == nullptr) {
      return cudaErrorInvalidResourceHandle;
    }
    return flags != 0 ? cudaErrorInvalidValue : runtime().streams.wait(stream, *event);
  });
}

cudaError_t cudaLaunchHostFunc(cudaStream_t handle, cudaHostFn_t function, void* user_data) {
  return stream_call(handle, [&](Stream& stream) -> cudaError_t {
    return function == nullptr
               ? cudaErrorInvalidValue
               : runtime().streams.enqueue(stream, [function, user_data] { function(user_data); });
  });
}

cudaError_t cudaEventCreate(cudaEvent_t* event) {
  return cudaEventCreateWithFlags(event, cudaEventDefault);
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  return cuda_call([&]() -> cudaError_t {
    if (event == nullptr || (flags & ~unsigned{cudaEventBlockingSync | cudaEventDisableTiming}) != 0) {
      return cudaErrorInvalidValue;
    }
    Event fresh;
    fresh.timed = (flags & cudaEventDisableTiming) == 0;
    *event = runtime().events.add(std::move(fresh));
    return cudaSuccess;
  });
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  return cuda_call(
      [&] { return runtime().events.remove(event) ? cudaSuccess : cudaErrorInvalidResourceHandle; },
      Raises::later);
}

cudaError_t cudaEventRecord(cudaEvent_t handle, cudaStream_t stream_handle) {
  return event_call(handle, [&](Event& event) -> cudaError_t {
    Stream* stream = runtime().streams.find(stream_handle);
    return stream == nullptr ? cudaErrorInvalidResourceHandle : runtime().streams.record(event, *stream);
  });
}

cudaError_t cudaEventSynchronize(cudaEvent_t handle) {
  return event_call(handle, [](Event& event) {
    const cudaError_t status = check_waitable(event);
    if (status == cudaSuccess && event.recorded != nullptr) {
      runtime().streams.queue().complete(event.recorded);
    }
    return status;
  });
}

cudaError_t cudaEventQuery(cudaEvent_t handle) {
  return event_call(handle, [](Event& event) -> cudaError_t {
    if (const cudaError_t status = check_waitable(event); status != cudaSuccess) {
      return status;
    }
    const bool done = event.recorded == nullptr || runtime().streams.queue().poll(event.recorded);
    return done ? cudaSuccess : cudaErrorNotReady;
  });
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  return event_call(begin, [&](Event& first) -> cudaError_t {
    const Event* second = runtime().events.find(end);
    if (second == nullptr) {
      return cudaErrorInvalidResourceHandle;
    }
    return milliseconds == nullptr ? cudaErrorInvalidValue : elapsed(first, *second, *milliseconds);
  });
}

cudaError_t cudaDeviceSynchronize() {
  return cuda_call([] {
    Streams& streams = runtime().streams;
    const cudaError_t status = streams.forbid_any_capture();
    if (status == cudaSuccess) {
      streams.queue().complete_all();
    }
    return status;
  });
}

cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode mode) {
  return stream_call(handle, [&](Stream& stream) {
    return runtime().streams.begin_capture(stream, mode == cudaStreamCaptureModeRelaxed);
  });
}

cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t* graph) {
  return stream_call(handle, [&](Stream& stream) -> cudaError_t {
    if (graph == nullptr) {
      return cudaErrorInvalidValue;
    }
    *graph = nullptr;
    auto captured = std::make_shared<Graph>();
    const cudaError_t status = runtime().streams.end_capture(stream, *captured);
    if (status == cudaSuccess) {
      *graph = runtime().graphs.add(std::move(captured));
    }
    return status;
  });
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t handle, unsigned long long flags) {
  return cuda_call([&]() -> cudaError_t {
    const auto* graph = runtime().graphs.find(handle);
    if (executable == nullptr || graph == nullptr || flags != 0) {
      return cudaErrorInvalidValue;
    }
    *executable = runtime().executables.add({*graph, nullptr});
    return cudaSuccess;
  });
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t handle, cudaStream_t stream_handle) {
  return stream_call(stream_handle, [&](Stream& stream) -> cudaError_t {
    GraphExec* executable = runtime().executables.find(handle);
    return executable == nullptr ? cudaErrorInvalidValue : runtime().streams.launch(*executable, stream);
  });
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  return cuda_call(
      [&] { return runtime().executables.remove(executable) ? cudaSuccess : cudaErrorInvalidValue; },
      Raises::later);
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  return cuda_call([&] { return runtime().graphs.remove(graph) ? cudaSuccess : cudaErrorInvalidValue; },
                   Raises::later);
}

}  // namespace pagelab_emulated_cuda
