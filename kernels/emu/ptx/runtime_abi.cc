// The C symbols that host objects made by nvcc (CUDA 13) refer to: registration of fat binaries and kernels,
// launches, and the runtime calls of launchers, all forwarded to the emulated runtime. For programs that do
// not link NVIDIA's runtime. Registration happens in constructors of static objects, so it only takes notes;
// PTX is read at a kernel's first launch.
#include <cuda_runtime.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kernels/emu/ptx/fat_binary.h"
#include "kernels/emu/ptx/machine.h"

typedef struct CUkern_st* cudaKernel_t;

namespace pagelab::emu::ptx {
namespace {

/// One fat binary of the program; its modules once they are needed.
class Image {
 public:
  explicit Image(const void* wrapper) : wrapper_(wrapper) {}

  cudaError_t launch(const std::string& kernel, const void* identity, const cudaLaunchConfig_t& config,
                     void** arguments) {
    for (const auto& module : modules()) {
      const cudaError_t status = ptx::launch(*module, kernel, identity, config, arguments);
      if (status != cudaErrorInvalidDeviceFunction) {
        return status;
      }
    }
    return cudaErrorNoKernelImageForDevice;
  }

 private:
  std::vector<std::unique_ptr<Module>>& modules() {
    if (modules_.empty()) {
      try {
        for (const EmbeddedText& embedded : embedded_ptx(wrapper_)) {
          const std::string name = embedded.name.empty() ? "kernels.cu" : embedded.name;
          modules_.push_back(std::make_unique<Module>(name, embedded.text));
        }
      } catch (const std::runtime_error& error) {
        throw KernelError(KernelError::Kind::unsupported, error.what());
      }
    }
    return modules_;
  }

  const void* wrapper_;
  std::vector<std::unique_ptr<Module>> modules_;
};

struct RegisteredKernel {
  Image* image = nullptr;
  std::string name;
};

/// Never destroyed: objects unregister at exit in an order of their own.
struct Registry {
  std::vector<std::unique_ptr<Image>> images;
  std::map<const void*, RegisteredKernel> kernels;  ///< by host function
  std::vector<cudaLaunchConfig_t> configurations;   ///< pushed by <<<>>>, not yet popped
};
Registry& registry() {
  static Registry& known = *new Registry;
  return known;
}

cudaError_t launch_registered(const void* kernel, const cudaLaunchConfig_t& config, void** arguments) {
  const auto found = registry().kernels.find(kernel);
  if (found == registry().kernels.end()) {
    return cudaErrorInvalidDeviceFunction;
  }
  return found->second.image->launch(found->second.name, kernel, config, arguments);
}

cudaLaunchConfig_t configuration(dim3 grid, dim3 block, std::size_t shared_bytes, cudaStream_t stream) {
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  return config;
}

}  // namespace
}  // namespace pagelab::emu::ptx

namespace emulated = pagelab_emulated_cuda;
using pagelab::emu::ptx::registry;

// NOLINTBEGIN(bugprone-reserved-identifier): the names are nvcc's.

extern "C" {

// --- Registration. A handle is the address of an Image.

void** __cudaRegisterFatBinary(void* wrapper) {
  auto& images = registry().images;
  images.push_back(std::make_unique<pagelab::emu::ptx::Image>(wrapper));
  return reinterpret_cast<void**>(images.back().get());
}
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
char __cudaInitModule(void**) {
  return 1;
}

void __cudaRegisterFunction(void** handle, const char* host_function, char*, const char* device_name, int,
                            uint3*, uint3*, dim3*, dim3*, int*) {
  registry().kernels[host_function] = {reinterpret_cast<pagelab::emu::ptx::Image*>(handle), device_name};
}
// Variables keep the values that the PTX gives them: no call is there to change them from the host.
void __cudaRegisterVar(void**, char*, char*, const char*, int, std::size_t, int, int) {}

// --- Launches.

unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, std::size_t shared_bytes, CUstream_st* stream) {
  registry().configurations.push_back(pagelab::emu::ptx::configuration(grid, block, shared_bytes, stream));
  return 0;
}
cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, std::size_t* shared_bytes, void* stream) {
  auto& pushed = registry().configurations;
  if (pushed.empty()) {
    return cudaErrorInvalidConfiguration;
  }
  const cudaLaunchConfig_t config = pushed.back();
  pushed.pop_back();
  *grid = config.gridDim;
  *block = config.blockDim;
  *shared_bytes = config.dynamicSmemBytes;
  *static_cast<cudaStream_t*>(stream) = config.stream;
  return cudaSuccess;
}
cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* host_function) {
  *kernel = static_cast<cudaKernel_t>(const_cast<void*>(host_function));
  return cudaSuccess;
}
cudaError_t cudaLaunchKernel(const void* host_function, dim3 grid, dim3 block, void** arguments,
                             std::size_t shared_bytes, cudaStream_t stream) {
  return pagelab::emu::ptx::launch_registered(
      host_function, pagelab::emu::ptx::configuration(grid, block, shared_bytes, stream), arguments);
}
cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void** arguments,
                               std::size_t shared_bytes, cudaStream_t stream) {
  return cudaLaunchKernel(kernel, grid, block, arguments, shared_bytes, stream);
}
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void* host_function,
                                void** arguments) {
  return pagelab::emu::ptx::launch_registered(host_function, *config, arguments);
}

// --- What launchers call beside.

cudaError_t cudaFuncSetAttribute(const void* host_function, cudaFuncAttribute attribute, int value) {
  return emulated::cudaFuncSetAttribute(host_function, attribute, value);
}
const char* cudaGetErrorName(cudaError_t error) {
  return emulated::cudaGetErrorName(error);
}
const char* cudaGetErrorString(cudaError_t error) {
  return emulated::cudaGetErrorString(error);
}
cudaError_t cudaGetLastError() {
  return emulated::cudaGetLastError();
}
cudaError_t cudaPeekAtLastError() {
  return emulated::cudaPeekAtLastError();
}
cudaError_t cudaMemcpyAsync(void* target, const void* source, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  return emulated::cudaMemcpyAsync(target, source, bytes, kind, stream);
}
cudaError_t cudaMemsetAsync(void* target, int value, std::size_t bytes, cudaStream_t stream) {
  return emulated::cudaMemsetAsync(target, value, bytes, stream);
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  return emulated::cudaDeviceGetAttribute(value, attribute, device);
}
cudaError_t cudaGetDevice(int* device) {
  return emulated::cudaGetDevice(device);
}
cudaError_t cudaDeviceSynchronize() {
  return emulated::cudaDeviceSynchronize();
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  return emulated::cudaStreamSynchronize(stream);
}

}  // extern "C"

// NOLINTEND(bugprone-reserved-identifier)
