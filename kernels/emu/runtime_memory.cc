// CUDA's calls about memory. Copies follow the table of the CUDA runtime documentation, "API synchronization
// behavior": pageable host memory is read before a copy to the device returns, and written before a copy from
// the device returns; pinned memory is read or written when the copy runs.

#include <cuda_runtime.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "kernels/emu/memory.h"
#include "kernels/emu/runtime_state.h"

namespace pagelab::emu {
namespace {

enum class Place : std::uint8_t { device, pinned, pageable };

/// Where memory is; `fits` is false if it begins in an allocation and does not end there.
struct Range {
  Place place = Place::pageable;
  bool fits = true;
};

Range classify(const void* begin, std::size_t bytes) {
  const Allocation* allocation = find(begin);
  if (allocation == nullptr) {
    return {};
  }
  const auto room =
      static_cast<std::size_t>(allocation->begin + allocation->bytes - static_cast<const std::byte*>(begin));
  return {allocation->kind == MemoryKind::device ? Place::device : Place::pinned, bytes <= room};
}

bool direction_fits(Place target, Place source, cudaMemcpyKind kind) {
  const bool to_device = target == Place::device;
  const bool from_device = source == Place::device;
  switch (kind) {
    case cudaMemcpyHostToHost:
      return !to_device && !from_device;
    case cudaMemcpyHostToDevice:
      return to_device && !from_device;
    case cudaMemcpyDeviceToHost:
      return !to_device && from_device;
    case cudaMemcpyDeviceToDevice:
      return to_device && from_device;
    case cudaMemcpyDefault:
      return true;
  }
  return false;
}

struct Copy {
  void* target;
  const void* source;
  std::size_t bytes;
  Place to, from;
};

void run_copy(const Copy& copy) {
  std::memmove(copy.target, copy.source, copy.bytes);
  MemoryListener* listener = memory_listener();
  if (listener == nullptr || copy.to == Place::pageable) {
    return;
  }
  if (copy.from == Place::pageable) {
    listener->written(copy.target, copy.bytes);
  } else {
    listener->copied(copy.target, copy.source, copy.bytes);
  }
}

/// Queues a copy; pageable sources are read now, unless a graph is captured: its copies read when they run.
cudaError_t enqueue_copy(Stream& stream, const Copy& copy, OperationPtr& queued) {
  Streams& streams = runtime().streams;
  const bool later = stream.capture == nullptr && streams.queue().order() != StreamOrder::eager;
  if (copy.from != Place::pageable || !later) {
    return streams.enqueue(
        stream, [copy] { run_copy(copy); }, &queued);
  }
  std::shared_ptr<std::byte[]> staged(new std::byte[copy.bytes]);
  std::memcpy(staged.get(), copy.source, copy.bytes);
  return streams.enqueue(
      stream,
      [copy, staged] {
        run_copy({copy.target, staged.get(), copy.bytes, copy.to, Place::pageable});
      },
      &queued);
}

cudaError_t copy_memory(Stream& stream, void* target, const void* source, std::size_t bytes,
                        cudaMemcpyKind kind, bool synchronous) {
  if (bytes == 0) {
    return cudaSuccess;
  }
  const Range to = classify(target, bytes);
  const Range from = classify(source, bytes);
  if (target == nullptr || source == nullptr || !to.fits || !from.fits ||
      !direction_fits(to.place, from.place, kind)) {
    return cudaErrorInvalidValue;
  }
  Streams& streams = runtime().streams;
  const bool to_device = to.place == Place::device;
  if (synchronous && to_device && from.place == Place::pageable) {
    if (const cudaError_t status = streams.synchronise(stream); status != cudaSuccess) {
      return status;
    }
  }
  OperationPtr queued;
  const cudaError_t status = enqueue_copy(stream, {target, source, bytes, to.place, from.place}, queued);
  const bool host_only = !to_device && from.place != Place::device;
  const bool returns_when_done = host_only || to.place == Place::pageable ||
                                 (synchronous && (!to_device || from.place == Place::pinned));
  if (queued != nullptr && returns_when_done) {
    streams.queue().complete(queued);
  }
  return status;
}

cudaError_t set_memory(Stream& stream, void* target, int value, std::size_t bytes, bool synchronous) {
  if (bytes == 0) {
    return cudaSuccess;
  }
  const Range range = classify(target, bytes);
  if (range.place == Place::pageable || !range.fits) {
    return cudaErrorInvalidValue;
  }
  OperationPtr queued;
  const cudaError_t status = runtime().streams.enqueue(
      stream,
      [target, value, bytes] {
        std::memset(target, value, bytes);
        if (memory_listener() != nullptr) {
          memory_listener()->written(target, bytes);
        }
      },
      &queued);
  if (queued != nullptr && synchronous && range.place == Place::pinned) {
    runtime().streams.queue().complete(queued);
  }
  return status;
}

cudaError_t allocate_memory(void** pointer, std::size_t bytes, MemoryKind kind) {
  return cuda_call([&]() -> cudaError_t {
    if (pointer == nullptr) {
      return cudaErrorInvalidValue;
    }
    if (const cudaError_t status = runtime().streams.forbid_strict_capture(); status != cudaSuccess) {
      return status;
    }
    *pointer = bytes == 0 ? nullptr : allocate(bytes, kind);
    return bytes > 0 && *pointer == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
  });
}

cudaError_t release_memory(void* pointer, MemoryKind kind) {
  return cuda_call(
      [&]() -> cudaError_t {
        if (pointer == nullptr) {
          return cudaSuccess;
        }
        Streams& streams = runtime().streams;
        if (const cudaError_t status = streams.forbid_strict_capture(); status != cudaSuccess) {
          return status;
        }
        const Allocation* allocation = find(pointer);
        if (allocation == nullptr || allocation->begin != pointer || allocation->kind != kind) {
          return cudaErrorInvalidValue;
        }
        try {
          streams.queue().complete_all();
        } catch (...) {
          release(pointer, kind);
          throw;
        }
        release(pointer, kind);
        return cudaSuccess;
      },
      Raises::later);
}

}  // namespace
}  // namespace pagelab::emu

namespace pagelab_emulated_cuda {

using namespace pagelab::emu;

cudaError_t cudaMalloc(void** pointer, std::size_t bytes) {
  return allocate_memory(pointer, bytes, MemoryKind::device);
}

cudaError_t cudaFree(void* pointer) {
  return release_memory(pointer, MemoryKind::device);
}

cudaError_t cudaMallocHost(void** pointer, std::size_t bytes) {
  return allocate_memory(pointer, bytes, MemoryKind::pinned);
}

cudaError_t cudaHostAlloc(void** pointer, std::size_t bytes, unsigned flags) {
  constexpr unsigned kKnown = cudaHostAllocPortable | cudaHostAllocMapped | cudaHostAllocWriteCombined;
  return (flags & ~kKnown) != 0 ? leave(cudaErrorInvalidValue)
                                : allocate_memory(pointer, bytes, MemoryKind::pinned);
}

cudaError_t cudaFreeHost(void* pointer) {
  return release_memory(pointer, MemoryKind::pinned);
}

cudaError_t cudaHostGetDevicePointer(void** device, void* host, unsigned flags) {
  return cuda_call([&]() -> cudaError_t {
    if (device == nullptr || flags != 0 || classify(host, 1).place != Place::pinned) {
      return cudaErrorInvalidValue;
    }
    *device = host;
    return cudaSuccess;
  });
}

cudaError_t cudaMemcpy(void* target, const void* source, std::size_t bytes, cudaMemcpyKind kind) {
  return stream_call(nullptr, [&](Stream& stream) -> cudaError_t {
    const cudaError_t status = runtime().streams.forbid_strict_capture();
    return status != cudaSuccess ? status : copy_memory(stream, target, source, bytes, kind, true);
  });
}

cudaError_t cudaMemcpyAsync(void* target, const void* source, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t handle) {
  return stream_call(handle,
                     [&](Stream& stream) { return copy_memory(stream, target, source, bytes, kind, false); });
}

cudaError_t cudaMemset(void* target, int value, std::size_t bytes) {
  return stream_call(nullptr, [&](Stream& stream) -> cudaError_t {
    const cudaError_t status = runtime().streams.forbid_strict_capture();
    return status != cudaSuccess ? status : set_memory(stream, target, value, bytes, true);
  });
}

cudaError_t cudaMemsetAsync(void* target, int value, std::size_t bytes, cudaStream_t handle) {
  return stream_call(handle, [&](Stream& stream) { return set_memory(stream, target, value, bytes, false); });
}

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  return cuda_call([&]() -> cudaError_t {
    if (free == nullptr || total == nullptr) {
      return cudaErrorInvalidValue;
    }
    *total = memory_limit();
    *free = memory_limit() - std::min(memory_limit(), memory_in_use());
    return cudaSuccess;
  });
}

}  // namespace pagelab_emulated_cuda
