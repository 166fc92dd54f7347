// A kernel's arguments on their way to its threads. In the library and not in the header, so that reading
// them is no access of the kernel.

#include <cuda_runtime.h>

#include <array>
#include <cstring>
#include <vector>

namespace pagelab_emulated_cuda {

cudaError_t enqueue_kernel(const cudaLaunchConfig_t& config, const void* kernel,
                           void (*call)(const void* arguments), const void* arguments, std::size_t bytes) {
  const auto* begin = static_cast<const std::byte*>(arguments);
  return enqueue_launch(config, kernel, [call, values = std::vector<std::byte>(begin, begin + bytes)] {
    constexpr std::size_t kMaxBytes = 4096 + 64;  // CUDA's limit on parameters, and the kernel's address
    alignas(16) std::array<std::byte, kMaxBytes> own;
    std::memcpy(own.data(), values.data(), values.size());
    call(own.data());
  });
}

}  // namespace pagelab_emulated_cuda
