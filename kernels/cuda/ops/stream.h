// Stream and Event: owners of a CUDA stream and a CUDA event.
#pragma once

#include <cuda_runtime.h>

#include "kernels/cuda/status.h"

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {

/// A stream that does not wait for the default stream.
class Stream {
 public:
  Stream() { check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags"); }
  ~Stream() { cudaStreamDestroy(stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // NOLINTNEXTLINE(google-explicit-constructor): it stands for its handle.
  operator cudaStream_t() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

class Event {
 public:
  /// cudaEventDefault to measure time, cudaEventDisableTiming for order alone.
  explicit Event(unsigned flags) {
    check(cudaEventCreateWithFlags(&event_, flags), "cudaEventCreateWithFlags");
  }
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void record(cudaStream_t stream) { check(cudaEventRecord(event_, stream), "cudaEventRecord"); }
  /// What is queued on `stream` from now on waits for what was queued before the last record().
  void hold_back(cudaStream_t stream) const {
    check(cudaStreamWaitEvent(stream, event_, 0), "cudaStreamWaitEvent");
  }
  void wait() const { check(cudaEventSynchronize(event_), "cudaEventSynchronize"); }

  // NOLINTNEXTLINE(google-explicit-constructor): it stands for its handle.
  operator cudaEvent_t() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
