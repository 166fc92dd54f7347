#include "kernels/cuda/ops/device_memory.h"

#include <array>
#include <cstdio>

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {
namespace {

/// What is left of the device's memory, for an error; empty if CUDA does not say.
std::string left_text() {
  std::size_t free = 0;
  std::size_t total = 0;
  if (cudaMemGetInfo(&free, &total) != cudaSuccess) {
    return "";
  }
  return "; " + size_text(free) + " of the device's " + size_text(total) + " are free";
}

[[noreturn]] void fail(const char* call, std::size_t bytes, const std::string& purpose, cudaError_t status,
                       const std::string& left) {
  cudaGetLastError();  // the error is told here; later calls shall not report it again
  throw CudaError("cannot get " + size_text(bytes) + " for " + purpose + ": " + call + " says " +
                  cudaGetErrorName(status) + " (" + cudaGetErrorString(status) + ")" + left);
}

}  // namespace

std::string size_text(std::size_t bytes) {
  if (bytes < 10'000) {
    return std::to_string(bytes) + " bytes";
  }
  std::array<char, 32> text{};
  const bool large = bytes >= 100'000'000;
  std::snprintf(text.data(), text.size(), large ? "%.2f GB" : "%.2f MB",
                static_cast<double>(bytes) * (large ? 1e-9 : 1e-6));
  return text.data();
}

DeviceMemory::DeviceMemory(std::size_t bytes, const std::string& purpose) : size_(bytes) {
  if (bytes == 0) {
    return;
  }
  if (const cudaError_t status = cudaMalloc(&data_, bytes); status != cudaSuccess) {
    fail("cudaMalloc", bytes, purpose, status, left_text());
  }
}

PinnedMemory::PinnedMemory(std::size_t bytes, const std::string& purpose) : size_(bytes) {
  if (bytes == 0) {
    return;
  }
  if (const cudaError_t status = cudaHostAlloc(&data_, bytes, cudaHostAllocMapped); status != cudaSuccess) {
    fail("cudaHostAlloc (page-locked memory of the host)", bytes, purpose, status, "");
  }
  if (const cudaError_t status = cudaHostGetDevicePointer(&mapped_, data_, 0); status != cudaSuccess) {
    cudaFreeHost(data_);
    fail("cudaHostGetDevicePointer", bytes, purpose, status, "");
  }
}

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
