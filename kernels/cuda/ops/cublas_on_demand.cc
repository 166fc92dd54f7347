// cuBLAS, loaded when the first of its functions is called: a program that holds this backend and runs on
// another device does not read a gigabyte of libraries at its start. Defines the functions of cublas_v2.h
// that the backend uses and hands each call on. The library is that of the toolkit's major version, from
// where the dynamic linker looks, else from the toolkit that this was built with. Without it every call
// fails, and the text of the status says why.
#include <dlfcn.h>

#include <string>

#pragma GCC visibility push(hidden)  // the library must not find these instead of its own
#include <cublas_v2.h>

namespace {

/// The header has an older overload beside it.
using GemmEx = cublasStatus_t (*)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int,
                                  const void*, const void*, cudaDataType, int, const void*, cudaDataType, int,
                                  const void*, void*, cudaDataType, int, cublasComputeType_t,
                                  cublasGemmAlgo_t);

struct Cublas {
  std::string why_not;  ///< empty: the library is there, and all of it
  decltype(&cublasCreate) create = nullptr;
  decltype(&cublasDestroy) destroy = nullptr;
  decltype(&cublasSetStream) set_stream = nullptr;
  decltype(&cublasSetWorkspace) set_workspace = nullptr;
  GemmEx gemm_ex = nullptr;
  decltype(&cublasGetStatusName) status_name = nullptr;
  decltype(&cublasGetStatusString) status_string = nullptr;

  Cublas() {
    const std::string name = "libcublas.so." + std::to_string(CUBLAS_VER_MAJOR);
    void* library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
      library = dlopen(PAGELAB_CUBLAS, RTLD_NOW | RTLD_LOCAL);
    }
    if (library == nullptr) {
      why_not = dlerror();
      return;
    }
    find(library, "cublasCreate_v2", create);
    find(library, "cublasDestroy_v2", destroy);
    find(library, "cublasSetStream_v2", set_stream);
    find(library, "cublasSetWorkspace_v2", set_workspace);
    find(library, "cublasGemmEx", gemm_ex);
    find(library, "cublasGetStatusName", status_name);
    find(library, "cublasGetStatusString", status_string);
  }

  template <class Function>
  void find(void* library, const char* name, Function& function) {
    function = reinterpret_cast<Function>(dlsym(library, name));
    if (function == nullptr) {
      why_not = std::string("cuBLAS lacks ") + name;
    }
  }
};

const Cublas& cublas() {
  static const Cublas loaded;
  return loaded;
}

template <class Function, class... Arguments>
cublasStatus_t call(Function Cublas::*function, Arguments... arguments) {
  return cublas().why_not.empty() ? (cublas().*function)(arguments...) : CUBLAS_STATUS_NOT_INITIALIZED;
}

}  // namespace

cublasStatus_t cublasCreate(cublasHandle_t* handle) {
  return call(&Cublas::create, handle);
}
cublasStatus_t cublasDestroy(cublasHandle_t handle) {
  return call(&Cublas::destroy, handle);
}
cublasStatus_t cublasSetStream(cublasHandle_t handle, cudaStream_t stream) {
  return call(&Cublas::set_stream, handle, stream);
}
cublasStatus_t cublasSetWorkspace(cublasHandle_t handle, void* workspace, size_t bytes) {
  return call(&Cublas::set_workspace, handle, workspace, bytes);
}
cublasStatus_t cublasGemmEx(cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb, int m,
                            int n, int k, const void* alpha, const void* a, cudaDataType a_type, int lda,
                            const void* b, cudaDataType b_type, int ldb, const void* beta, void* c,
                            cudaDataType c_type, int ldc, cublasComputeType_t compute,
                            cublasGemmAlgo_t algorithm) {
  return call(&Cublas::gemm_ex, handle, transa, transb, m, n, k, alpha, a, a_type, lda, b, b_type, ldb, beta,
              c, c_type, ldc, compute, algorithm);
}
const char* cublasGetStatusName(cublasStatus_t status) {
  return cublas().why_not.empty() ? cublas().status_name(status) : "cuBLAS is not there";
}
const char* cublasGetStatusString(cublasStatus_t status) {
  return cublas().why_not.empty() ? cublas().status_string(status) : cublas().why_not.c_str();
}
#pragma GCC visibility pop
