// What a program needs to make a CUDA backend, whichever way CUDA is there: on a GPU (namespace cuda) or on
// the emulated device (namespace cuda_emulated). Needs no CUDA header and no macro, so one program can hold
// both.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "kernels/ops.h"

namespace pagelab::kernels {

/// How blocks travel between the device pool and the host pool.
enum class SwapMode : std::uint8_t {
  batched,   ///< all blocks of a step and direction in one kernel over mapped host memory
  per_block  ///< one cudaMemcpyAsync per block, layer and K or V, as in SOSP'23, section 7.3
};

struct CudaOptions {
  DType weight_dtype = DType::bf16;  ///< storage of matrices; vectors are f32
  SwapMode swap = SwapMode::batched;
  bool graphs = false;           ///< replay steps that repeat an earlier one's launches as a CUDA graph
  std::int64_t arena_bytes = 0;  ///< memory for activations to begin with; it grows with the largest step
};

/// The first device.
struct CudaDevice {
  std::string name;
  std::int64_t free_bytes = 0;
  std::int64_t total_bytes = 0;
};

namespace cuda {
/// Throw std::runtime_error that says why if there is no device or it has too little memory.
std::unique_ptr<Ops> make_ops(const CudaOptions& options);
CudaDevice find_device();
}  // namespace cuda

namespace cuda_emulated {
/// Throws std::runtime_error if the emulated device has too little memory.
std::unique_ptr<Ops> make_ops(const CudaOptions& options);
CudaDevice find_device();
}  // namespace cuda_emulated

}  // namespace pagelab::kernels
