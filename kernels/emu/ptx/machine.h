// The PTX machine: runs kernels that nvcc compiled, from the PTX in their fat binaries, on the SIMT machine
// (simt.h). One fiber per thread interprets a Program; barriers, collectives, cp.async, checks and schedules
// are those of the kernels compiled as C++. It sees what they cannot: inline assembly, and what nvcc made of
// the source.
//
// Programs reach it in two ways: linked from nvcc's host objects (runtime_abi.cc), or as text (Module).
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kernels/emu/ptx/module.h"

namespace pagelab::emu::ptx {

/// What the kernels of the program executed so far.
struct KernelCount {
  std::string kernel;  ///< demangled
  std::uint64_t launches = 0;
  std::uint64_t thread_instructions = 0;  ///< of threads that came to their end
};
std::vector<KernelCount> counts();
void reset_counts();

/// Queues a launch of `kernel`; `arguments` as cudaLaunchKernel takes them, copied now. Throws KernelError
/// (unsupported) if the kernel's PTX cannot be read.
/// `identity` tells kernels apart for cudaFuncSetAttribute.
cudaError_t launch(Module& module, std::string_view kernel, const void* identity,
                   const cudaLaunchConfig_t& config, void** arguments);

}  // namespace pagelab::emu::ptx
