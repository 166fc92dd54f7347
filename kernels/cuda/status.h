// CudaError and check(): every status that CUDA returns goes through here.
#pragma once

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {

/// A CUDA or cuBLAS call failed; what() names the call, the place and the status.
class CudaError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

inline void check(cudaError_t status, const char* call, const char* file = __builtin_FILE(),
                  int line = __builtin_LINE()) {
  if (status != cudaSuccess) {
    throw CudaError(std::string(call) + " failed at " + file + ":" + std::to_string(line) + ": " +
                    cudaGetErrorName(status) + " (" + cudaGetErrorString(status) + ")");
  }
}

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
