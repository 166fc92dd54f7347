// What tests of kernels share: arrays in device memory, and the schedules under which a test repeats itself.
// The same source runs on the SIMT machine and on a GPU.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <initializer_list>
#include <span>
#include <vector>

#include "kernels/cuda/status.h"
#ifdef PAGELAB_EMULATED_RUNTIME
#include "kernels/emu/simt.h"
#endif

namespace pagelab::testing {

namespace cuda = kernels::PAGELAB_CUDA_VARIANT;

/// An array of exactly its size in device memory, so that an access beyond it is one beyond an allocation.
template <class T>
class DeviceArray {
 public:
  /// Not initialised.
  explicit DeviceArray(std::size_t count) : count_(count) {
    if (count > 0) {
      cuda::check(cudaMalloc(&data_, count * sizeof(T)), "cudaMalloc");
    }
  }
  explicit DeviceArray(std::span<const T> values) : DeviceArray(values.size()) { upload(values); }
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(std::span<const T>(values)) {}
  ~DeviceArray() { cudaFree(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* data() const { return static_cast<T*>(data_); }
  std::size_t size() const { return count_; }

  void upload(std::span<const T> values) {
    if (!values.empty()) {
      cuda::check(cudaMemcpy(data_, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice),
                  "cudaMemcpy");
    }
  }
  /// Waits for all queued work first.
  std::vector<T> download() const {
    cuda::check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    std::vector<T> values(count_);
    if (count_ > 0) {
      cuda::check(cudaMemcpy(values.data(), data_, count_ * sizeof(T), cudaMemcpyDeviceToHost), "cudaMemcpy");
    }
    return values;
  }

 private:
  void* data_ = nullptr;
  std::size_t count_;
};

/// Runs `body` in order and under three random schedules of threads; once on a GPU, which makes its own.
template <class Body>
void for_each_schedule(Body body) {
#ifdef PAGELAB_EMULATED_RUNTIME
  for (const std::uint64_t seed : {0, 1, 2, 3}) {
    emu::set_schedule(seed);
    body();
  }
  emu::set_schedule(0);
#else
  body();
#endif
}

}  // namespace pagelab::testing
