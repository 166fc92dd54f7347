// What the CUDA calls of the emulated runtime share: its state, and the frame that every call runs in.
// Internal to kernels/emu.
#pragma once

#include <cuda_runtime.h>

#include <exception>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "kernels/emu/runtime.h"
#include "kernels/emu/simt.h"
#include "kernels/emu/stream.h"

namespace pagelab::emu {

/// Owns objects that callers know by handle.
template <class Handle, class Object>
class Handles {
 public:
  Handle add(Object object) {
    auto owned = std::make_unique<Object>(std::move(object));
    const auto handle = reinterpret_cast<Handle>(owned.get());
    objects_.emplace(handle, std::move(owned));
    return handle;
  }
  /// Null for a foreign handle.
  Object* find(Handle handle) {
    const auto found = objects_.find(handle);
    return found == objects_.end() ? nullptr : found->second.get();
  }
  bool remove(Handle handle) { return objects_.erase(handle) == 1; }

 private:
  std::map<Handle, std::unique_ptr<Object>> objects_;
};

struct Runtime {
  Streams streams;
  Handles<cudaEvent_t, Event> events;
  Handles<cudaGraph_t, std::shared_ptr<const Graph>> graphs;
  Handles<cudaGraphExec_t, GraphExec> executables;
  std::map<const void*, int> dynamic_shared;  ///< by kernel: bytes that cudaFuncSetAttribute allowed

  OnFailure on_failure = OnFailure::raise;
  std::string report;
  cudaError_t last = cudaSuccess;    ///< cudaGetLastError
  cudaError_t sticky = cudaSuccess;  ///< a kernel failed
  std::exception_ptr unraised;       ///< a release call ran into it
};

Runtime& runtime();
/// As name_kernel() has said, or "kernel".
const char* name_of_kernel(const void* kernel);

/// Whether a call may throw, or keeps a failure for the next one that may.
enum class Raises : bool { yes, later };

/// What a call returns without doing anything, or cudaSuccess; throws what an earlier call could not.
cudaError_t enter(Raises raises);
/// Within the handler of a KernelError.
cudaError_t failed(const KernelError& error, Raises raises);
/// Makes `status` the last error if it is one.
cudaError_t leave(cudaError_t status);

/// The frame of a CUDA call: `body` does its work and says how it went.
template <class Body>
cudaError_t cuda_call(Body&& body, Raises raises = Raises::yes) {
  if (const cudaError_t status = enter(raises); status != cudaSuccess) {
    return leave(status);
  }
  try {
    return leave(body());
  } catch (const KernelError& error) {
    return leave(failed(error, raises));
  }
}

/// The same for a call about a stream: `body` is given the Stream.
template <class Body>
cudaError_t stream_call(cudaStream_t handle, Body&& body) {
  return cuda_call([&]() -> cudaError_t {
    Stream* stream = runtime().streams.find(handle);
    return stream == nullptr ? cudaErrorInvalidResourceHandle : body(*stream);
  });
}

}  // namespace pagelab::emu
