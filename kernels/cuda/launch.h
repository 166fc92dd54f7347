// launch(): the one way in which a kernel is started. Queues it on a stream and throws CudaError if CUDA
// refuses.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>

#include "kernels/cuda/status.h"

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {

/// `shared_bytes` of dynamic shared memory per block; more than 48 KiB is asked for explicitly, as CUDA wants
/// it. A grid without blocks launches nothing.
template <class... Parameters, class... Arguments>
void launch(cudaStream_t stream, dim3 grid, dim3 block, std::size_t shared_bytes,
            void (*kernel)(Parameters...), Arguments&&... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) {
    return;
  }
  if (shared_bytes > 48 * 1024) {
    check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                               cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes)),
          "cudaFuncSetAttribute");
  }
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  check(cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...), "cudaLaunchKernelEx");
}

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
