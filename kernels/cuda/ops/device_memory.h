// DeviceMemory and PinnedMemory: owners of one allocation each, of the device and of page-locked host memory
// that the device can address. What cannot be had is a CudaError that says how much was asked for what, and
// how much there is.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <string>
#include <utility>

#include "kernels/cuda/status.h"

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {

/// "1.50 GB", "37 bytes".
std::string size_text(std::size_t bytes);

/// Not initialised. Zero bytes are no allocation.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  /// `purpose` completes "... for": "the KV pool of the device".
  DeviceMemory(std::size_t bytes, const std::string& purpose);
  DeviceMemory(DeviceMemory&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  DeviceMemory& operator=(DeviceMemory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~DeviceMemory() { cudaFree(data_); }

  std::byte* data() const { return static_cast<std::byte*>(data_); }
  std::size_t size() const { return size_; }

 private:
  void* data_ = nullptr;
  std::size_t size_ = 0;
};

class PinnedMemory {
 public:
  PinnedMemory() = default;
  PinnedMemory(std::size_t bytes, const std::string& purpose);
  PinnedMemory(PinnedMemory&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        mapped_(std::exchange(other.mapped_, nullptr)),
        size_(std::exchange(other.size_, 0)) {}
  PinnedMemory& operator=(PinnedMemory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(mapped_, other.mapped_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~PinnedMemory() { cudaFreeHost(data_); }

  std::byte* data() const { return static_cast<std::byte*>(data_); }
  /// The address under which kernels reach it.
  std::byte* mapped() const { return static_cast<std::byte*>(mapped_); }
  std::size_t size() const { return size_; }

 private:
  void* data_ = nullptr;
  void* mapped_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
