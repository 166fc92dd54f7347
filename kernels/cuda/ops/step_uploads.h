// StepUploads: the small arrays of a step (page table, plan, tokens, sample specs, lists of copies) on their
// way to the device. Arrays are packed into one pinned buffer as they come and uploaded with one copy; the
// addresses that put() returns are those that they will have on the device. Owns both buffers. The pinned one
// is guarded by an event: it is not written again before the last upload has left it.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <span>
#include <vector>

#include "kernels/cuda/ops/device_memory.h"
#include "kernels/cuda/ops/stream.h"

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {

class StepUploads {
 public:
  StepUploads() { add_chunk(kFirstBytes); }

  /// Copies the array; an array of the same content has one address. Valid on the device for what is queued
  /// between upload() and the next one.
  template <class T>
  const T* put(std::span<const T> values) {
    return reinterpret_cast<const T*>(put_bytes(std::as_bytes(values)));
  }

  /// Queues the copy of what was put since the last upload.
  void upload(cudaStream_t stream);

 private:
  static constexpr std::size_t kFirstBytes = std::size_t{1} << 18;

  struct Chunk {
    PinnedMemory host;
    DeviceMemory device;
    std::size_t used = 0;
  };
  struct Entry {
    std::size_t chunk;
    std::size_t offset;
    std::size_t bytes;
  };

  const std::byte* put_bytes(std::span<const std::byte> bytes);
  void add_chunk(std::size_t bytes);
  /// Waits for the last upload and starts at the front of one chunk again.
  void begin();

  std::vector<Chunk> chunks_;
  std::vector<Entry> entries_;  ///< since the last upload
  Event uploaded_{cudaEventDisableTiming};
  bool in_flight_ = false;  ///< the buffers still hold the last upload
};

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
