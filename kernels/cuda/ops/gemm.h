// Gemm: products of activations with weights by cuBLAS, with f32 accumulation. Owns the cuBLAS handle and a
// workspace of its own, so that a product allocates nothing and can be captured in a graph. f32 weights are
// multiplied in f32, not TF32.
#pragma once

#include <cublas_v2.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/ops/device_memory.h"
#include "kernels/ops.h"

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {

/// One product out (+)= x * w^T; x [M, K] and w [N, K] in device memory, both of `dtype`, out [M, N] f32.
struct Product {
  const void* x = nullptr;
  const void* w = nullptr;
  std::int64_t inner = 0;  ///< K
  Tensor out;
  DType dtype = DType::f32;
  bool accumulate = false;  ///< add to out
};

class Gemm {
 public:
  /// Products run on this stream.
  explicit Gemm(cudaStream_t stream);
  ~Gemm();
  Gemm(const Gemm&) = delete;
  Gemm& operator=(const Gemm&) = delete;

  /// Queues the product on the stream. Throws CudaError.
  void run(const Product& product) const;

 private:
  DeviceMemory workspace_;
  cublasHandle_t handle_ = nullptr;
};

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
