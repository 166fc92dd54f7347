// Kernel launches: what CUDA refuses at once is refused here, the rest is queued for the SIMT machine.

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <span>

#include "kernels/emu/runtime_state.h"

namespace pagelab::emu {
namespace {

constexpr std::size_t kSharedByDefault = 48 * 1024;
constexpr std::size_t kSharedAtMost = 163 * 1024;

Extent extent_of(const dim3& size) {
  return {size.x, size.y, size.z};
}

bool within(const Extent& size, const Extent& limit) {
  return size.x >= 1 && size.x <= limit.x && size.y >= 1 && size.y <= limit.y && size.z >= 1 &&
         size.z <= limit.z;
}

bool shape_allowed(const Extent& grid, const Extent& block) {
  return within(grid, {0x7fffffff, 65535, 65535}) && within(block, {1024, 1024, 64}) && block.count() <= 1024;
}

std::size_t shared_allowed(const void* kernel) {
  const auto& asked = runtime().dynamic_shared;
  const auto found = asked.find(kernel);
  return found == asked.end() ? kSharedByDefault
                              : std::max(kSharedByDefault, static_cast<std::size_t>(found->second));
}

}  // namespace
}  // namespace pagelab::emu

namespace pagelab_emulated_cuda {

using namespace pagelab::emu;

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  return cuda_call([&]() -> cudaError_t {
    if (kernel == nullptr) {
      return cudaErrorInvalidDeviceFunction;
    }
    if (attribute == cudaFuncAttributePreferredSharedMemoryCarveout) {
      return value >= -1 && value <= 100 ? cudaSuccess : cudaErrorInvalidValue;
    }
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize || value < 0 ||
        static_cast<std::size_t>(value) > kSharedAtMost) {
      return cudaErrorInvalidValue;
    }
    runtime().dynamic_shared[kernel] = value;
    return cudaSuccess;
  });
}

cudaError_t enqueue_launch(const cudaLaunchConfig_t& config, const void* kernel,
                           std::function<void()> thread) {
  return stream_call(config.stream, [&](Stream& stream) -> cudaError_t {
    const LaunchShape shape{extent_of(config.gridDim), extent_of(config.blockDim), config.dynamicSmemBytes,
                            ""};
    if (kernel == nullptr) {
      return cudaErrorInvalidDeviceFunction;
    }
    if (!shape_allowed(shape.grid, shape.block)) {
      return cudaErrorInvalidConfiguration;
    }
    if (shape.shared_bytes > shared_allowed(kernel)) {
      return cudaErrorInvalidValue;
    }
    const auto ignorable = [](const cudaLaunchAttribute& attribute) {
      return attribute.id == cudaLaunchAttributeIgnore;
    };
    if (!std::ranges::all_of(std::span(config.attrs, config.numAttrs), ignorable)) {
      return cudaErrorNotSupported;
    }
    return runtime().streams.enqueue(stream, [shape, kernel, thread = std::move(thread)] {
      LaunchShape named = shape;
      named.kernel = name_of_kernel(kernel);
      run(named, thread);
    });
  });
}

}  // namespace pagelab_emulated_cuda
