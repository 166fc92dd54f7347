#include "kernels/cuda/ops/gemm.h"

#include <string>

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {
namespace {

/// What NVIDIA recommends for Hopper, the device that wants most.
constexpr std::size_t kWorkspaceBytes = std::size_t{32} << 20;

void check_cublas(cublasStatus_t status, const char* call, const char* file = __builtin_FILE(),
                  int line = __builtin_LINE()) {
  if (status != CUBLAS_STATUS_SUCCESS) {
    throw CudaError(std::string(call) + " failed at " + file + ":" + std::to_string(line) + ": " +
                    cublasGetStatusName(status) + " (" + cublasGetStatusString(status) + ")");
  }
}

cudaDataType_t cuda_type(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return CUDA_R_32F;
    case DType::bf16:
      return CUDA_R_16BF;
    case DType::f16:
      return CUDA_R_16F;
  }
  return CUDA_R_32F;
}

}  // namespace

Gemm::Gemm(cudaStream_t stream) : workspace_(kWorkspaceBytes, "the workspace of cuBLAS") {
  check_cublas(cublasCreate(&handle_), "cublasCreate");
  try {
    check_cublas(cublasSetStream(handle_, stream), "cublasSetStream");
    // After the stream: choosing one takes the handle back to cuBLAS's own workspace.
    check_cublas(cublasSetWorkspace(handle_, workspace_.data(), workspace_.size()), "cublasSetWorkspace");
  } catch (...) {
    cublasDestroy(handle_);
    throw;
  }
}

Gemm::~Gemm() {
  cublasDestroy(handle_);
}

void Gemm::run(const Product& p) const {
  if (p.out.rows == 0 || p.out.cols == 0) {
    return;
  }
  // cuBLAS thinks in columns: a row-major [M, N] is its [N, M], so out^T = w * x^T, with w^T as what it is
  // given.
  const auto inner = static_cast<int>(p.inner);
  const float alpha = 1.0f;
  const float beta = p.accumulate ? 1.0f : 0.0f;
  const cudaDataType_t type = cuda_type(p.dtype);
  check_cublas(cublasGemmEx(handle_, CUBLAS_OP_T, CUBLAS_OP_N, p.out.cols, p.out.rows, inner, &alpha, p.w,
                            type, inner, p.x, type, inner, &beta, p.out.data, CUDA_R_32F, p.out.cols,
                            CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
               "cublasGemmEx");
}

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
