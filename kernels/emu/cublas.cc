// The emulated cuBLAS: arguments are checked as cuBLAS checks them, products are queued on the handle's
// stream like a kernel, and the memory that they touch is checked when they run.

#include <cublas_v2.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <string>

#include "kernels/emu/gemm.h"
#include "kernels/emu/memory.h"
#include "kernels/emu/runtime_state.h"

namespace pagelab::emu {
namespace {

constexpr std::uintptr_t kWorkspaceAlignment = 256;

struct Workspace {
  void* data = nullptr;  ///< null: cuBLAS's own
  std::size_t bytes = 0;
};

struct Blas {
  cudaStream_t stream = nullptr;
  Workspace workspace;
};

Handles<cublasHandle_t, Blas>& handles() {
  // Never destroyed, as the runtime.
  static auto& instance = *new Handles<cublasHandle_t, Blas>;
  return instance;
}

cublasStatus_t status_of(cudaError_t status) {
  return status == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}

bool within_allocation(const void* begin, std::size_t bytes) {
  const Allocation* allocation = find(begin);
  return allocation != nullptr && bytes <= static_cast<std::size_t>(allocation->begin + allocation->bytes -
                                                                    static_cast<const std::byte*>(begin));
}

/// A batch of column-major matrices in device memory.
struct Matrix {
  char name;
  void* data;
  cudaDataType type;
  int rows, columns, leading;
  long long stride;

  Number number() const {
    return type == CUDA_R_32F ? Number::f32 : type == CUDA_R_16F ? Number::f16 : Number::bf16;
  }
  bool type_known() const { return type == CUDA_R_32F || type == CUDA_R_16F || type == CUDA_R_16BF; }
  std::size_t bytes() const {
    return rows == 0 || columns == 0
               ? 0
               : (static_cast<std::size_t>(columns - 1) * static_cast<std::size_t>(leading) +
                  static_cast<std::size_t>(rows)) *
                     size_of(number());
  }
  std::byte* of_batch(int batch) const {
    return static_cast<std::byte*>(data) + batch * stride * static_cast<long long>(size_of(number()));
  }
};

struct Gemm {
  bool transpose_a, transpose_b;
  int m, n, k, batches;
  float alpha, beta;
  Matrix a, b, c;
  Workspace workspace;
};

void check_memory(const Matrix& matrix, int batch) {
  const std::size_t bytes = matrix.bytes();
  if (bytes > 0 && !within_allocation(matrix.of_batch(batch), bytes)) {
    throw KernelError(KernelError::Kind::illegal_address,
                      "illegal address: cuBLAS product: matrix " + std::string(1, matrix.name) + " of " +
                          std::to_string(matrix.rows) + " x " + std::to_string(matrix.columns) +
                          " (leading dimension " + std::to_string(matrix.leading) + ", batch " +
                          std::to_string(batch) + ") does not lie within a live allocation");
  }
}

void tell_written(const Matrix& matrix, int batch) {
  if (MemoryListener* listener = memory_listener(); listener != nullptr) {
    const std::size_t element = size_of(matrix.number());
    for (int column = 0; column < matrix.columns; ++column) {
      listener->written(matrix.of_batch(batch) + static_cast<std::size_t>(column) * matrix.leading * element,
                        static_cast<std::size_t>(matrix.rows) * element);
    }
  }
}

void run_gemm(const Gemm& call) {
  if (call.workspace.data != nullptr && !within_allocation(call.workspace.data, call.workspace.bytes)) {
    throw KernelError(KernelError::Kind::illegal_address,
                      "illegal address: cuBLAS product: the workspace does not lie within a live allocation");
  }
  for (int batch = 0; batch < call.batches; ++batch) {
    if (call.k > 0) {
      check_memory(call.a, batch);
      check_memory(call.b, batch);
    }
    check_memory(call.c, batch);
    gemm(call.m, call.n, call.k, call.alpha,
         {call.a.of_batch(batch), call.a.leading, call.a.number(), call.transpose_a},
         {call.b.of_batch(batch), call.b.leading, call.b.number(), call.transpose_b}, call.beta,
         {call.c.of_batch(batch), call.c.leading, call.c.number()});
    tell_written(call.c, batch);
  }
}

cublasStatus_t check_arguments(const Gemm& call, cublasComputeType_t compute) {
  const auto leading_fits = [](const Matrix& matrix) { return matrix.leading >= std::max(1, matrix.rows); };
  if (call.m < 0 || call.n < 0 || call.k < 0 || call.batches < 0 || !leading_fits(call.a) ||
      !leading_fits(call.b) || !leading_fits(call.c)) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  const bool types_fit = call.a.type_known() && call.b.type == call.a.type &&
                         (call.c.type == CUDA_R_32F || call.c.type == call.a.type);
  const bool computes_in_float = compute == CUBLAS_COMPUTE_32F || compute == CUBLAS_COMPUTE_32F_PEDANTIC ||
                                 (compute == CUBLAS_COMPUTE_32F_FAST_TF32 && call.a.type == CUDA_R_32F);
  return types_fit && computes_in_float ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

bool known(cublasOperation_t operation) {
  return operation == CUBLAS_OP_N || operation == CUBLAS_OP_T || operation == CUBLAS_OP_C;
}

struct StatusText {
  cublasStatus_t status;
  const char* name;
  const char* text;
};

constexpr StatusText kStatuses[] = {
    {CUBLAS_STATUS_SUCCESS, "CUBLAS_STATUS_SUCCESS", "success"},
    {CUBLAS_STATUS_NOT_INITIALIZED, "CUBLAS_STATUS_NOT_INITIALIZED", "the library was not initialized"},
    {CUBLAS_STATUS_ALLOC_FAILED, "CUBLAS_STATUS_ALLOC_FAILED", "the resource allocation failed"},
    {CUBLAS_STATUS_INVALID_VALUE, "CUBLAS_STATUS_INVALID_VALUE",
     "an unsupported value or parameter was passed to the function"},
    {CUBLAS_STATUS_ARCH_MISMATCH, "CUBLAS_STATUS_ARCH_MISMATCH",
     "the function requires an architectural feature absent from the device"},
    {CUBLAS_STATUS_MAPPING_ERROR, "CUBLAS_STATUS_MAPPING_ERROR", "an access to GPU memory space failed"},
    {CUBLAS_STATUS_EXECUTION_FAILED, "CUBLAS_STATUS_EXECUTION_FAILED",
     "the function failed to launch on the GPU"},
    {CUBLAS_STATUS_INTERNAL_ERROR, "CUBLAS_STATUS_INTERNAL_ERROR", "an internal operation failed"},
    {CUBLAS_STATUS_NOT_SUPPORTED, "CUBLAS_STATUS_NOT_SUPPORTED",
     "the requested functionality is not supported"},
    {CUBLAS_STATUS_LICENSE_ERROR, "CUBLAS_STATUS_LICENSE_ERROR", "the license check failed"},
};

const StatusText* find_status(cublasStatus_t status) {
  const auto* found = std::ranges::find(kStatuses, status, &StatusText::status);
  return found == std::end(kStatuses) ? nullptr : found;
}

}  // namespace
}  // namespace pagelab::emu

namespace pagelab_emulated_cuda {

using namespace pagelab::emu;

cublasStatus_t cublasCreate(cublasHandle_t* handle) {
  if (handle == nullptr) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  *handle = handles().add({});
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasDestroy(cublasHandle_t handle) {
  if (!handles().remove(handle)) {
    return CUBLAS_STATUS_NOT_INITIALIZED;
  }
  return status_of(cuda_call(
      [] {
        const cudaError_t status = runtime().streams.forbid_any_capture();
        if (status == cudaSuccess) {
          runtime().streams.queue().complete_all();
        }
        return status;
      },
      Raises::later));
}

cublasStatus_t cublasSetStream(cublasHandle_t handle, cudaStream_t stream) {
  Blas* blas = handles().find(handle);
  if (blas == nullptr) {
    return CUBLAS_STATUS_NOT_INITIALIZED;
  }
  *blas = {stream, {}};
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetWorkspace(cublasHandle_t handle, void* workspace, std::size_t bytes) {
  Blas* blas = handles().find(handle);
  if (blas == nullptr) {
    return CUBLAS_STATUS_NOT_INITIALIZED;
  }
  if (reinterpret_cast<std::uintptr_t>(workspace) % kWorkspaceAlignment != 0) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  blas->workspace = {workspace, bytes};
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetMathMode(cublasHandle_t handle, cublasMath_t mode) {
  if (handles().find(handle) == nullptr) {
    return CUBLAS_STATUS_NOT_INITIALIZED;
  }
  const int base =
      static_cast<int>(mode) & ~static_cast<int>(CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION);
  const bool known_mode =
      base == CUBLAS_DEFAULT_MATH || base == CUBLAS_PEDANTIC_MATH || base == CUBLAS_TF32_TENSOR_OP_MATH;
  return known_mode ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasGemmEx(cublasHandle_t handle, cublasOperation_t transpose_a,
                            cublasOperation_t transpose_b, int m, int n, int k, const void* alpha,
                            const void* a, cudaDataType a_type, int lda, const void* b, cudaDataType b_type,
                            int ldb, const void* beta, void* c, cudaDataType c_type, int ldc,
                            cublasComputeType_t compute_type, cublasGemmAlgo_t algorithm) {
  return cublasGemmStridedBatchedEx(handle, transpose_a, transpose_b, m, n, k, alpha, a, a_type, lda, 0, b,
                                    b_type, ldb, 0, beta, c, c_type, ldc, 0, 1, compute_type, algorithm);
}

cublasStatus_t cublasGemmStridedBatchedEx(cublasHandle_t handle, cublasOperation_t transpose_a,
                                          cublasOperation_t transpose_b, int m, int n, int k,
                                          const void* alpha, const void* a, cudaDataType a_type, int lda,
                                          long long stride_a, const void* b, cudaDataType b_type, int ldb,
                                          long long stride_b, const void* beta, void* c, cudaDataType c_type,
                                          int ldc, long long stride_c, int batch_count,
                                          cublasComputeType_t compute_type, cublasGemmAlgo_t /*algorithm*/) {
  const Blas* blas = handles().find(handle);
  if (blas == nullptr) {
    return CUBLAS_STATUS_NOT_INITIALIZED;
  }
  if (alpha == nullptr || beta == nullptr || !known(transpose_a) || !known(transpose_b)) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  const bool turn_a = transpose_a != CUBLAS_OP_N;
  const bool turn_b = transpose_b != CUBLAS_OP_N;
  const Gemm call{turn_a,
                  turn_b,
                  m,
                  n,
                  k,
                  batch_count,
                  *static_cast<const float*>(alpha),
                  *static_cast<const float*>(beta),
                  {'A', const_cast<void*>(a), a_type, turn_a ? k : m, turn_a ? m : k, lda, stride_a},
                  {'B', const_cast<void*>(b), b_type, turn_b ? n : k, turn_b ? k : n, ldb, stride_b},
                  {'C', c, c_type, m, n, ldc, stride_c},
                  blas->workspace};
  if (const cublasStatus_t status = check_arguments(call, compute_type); status != CUBLAS_STATUS_SUCCESS) {
    return status;
  }
  if (m == 0 || n == 0 || batch_count == 0) {
    return CUBLAS_STATUS_SUCCESS;
  }
  return status_of(stream_call(blas->stream, [&](Stream& stream) {
    return runtime().streams.enqueue(stream, [call] { run_gemm(call); });
  }));
}

const char* cublasGetStatusName(cublasStatus_t status) {
  const StatusText* found = find_status(status);
  return found == nullptr ? "unrecognized status" : found->name;
}

const char* cublasGetStatusString(cublasStatus_t status) {
  const StatusText* found = find_status(status);
  return found == nullptr ? "unrecognized status" : found->text;
}

}  // namespace pagelab_emulated_cuda
