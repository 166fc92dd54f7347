#include <cstdlib>
#include <stdexcept>
#include <string_view>

#include "kernels/emu/device.h"
#include "kernels/emu/memory.h"
#include "kernels/emu/simt.h"
#include "tests/emu/runtime_fixture.h"

namespace pagelab::emu {
namespace {

class LaunchTest : public RuntimeTest {};
class FailureTest : public RuntimeTest {};
class DeviceTest : public RuntimeTest {};

__global__ void count_threads(int* counter) {
  atomicAdd(counter, 1);
}

__global__ void fail(KernelError::Kind kind) {
  throw KernelError(kind, "planted failure");
}

struct Shape {
  dim3 grid{1}, block{1};
  std::size_t shared = 0;
};

template <class... Parameters, class... Arguments>
cudaError_t launch(const Shape& shape, cudaStream_t stream, void (*kernel)(Parameters...),
                   Arguments... arguments) {
  cudaLaunchConfig_t config{};
  config.gridDim = shape.grid;
  config.blockDim = shape.block;
  config.dynamicSmemBytes = shape.shared;
  config.stream = stream;
  return cudaLaunchKernelEx(&config, kernel, arguments...);
}

cudaError_t launch_failing(cudaStream_t stream, KernelError::Kind kind = KernelError::Kind::illegal_address) {
  return launch({}, stream, fail, kind);
}

TEST_F(LaunchTest, EveryThreadOfTheGridRunsOnce) {
  void* counter = nullptr;
  ASSERT_EQ(cudaMalloc(&counter, sizeof(int)), cudaSuccess);
  cudaMemset(counter, 0, sizeof(int));
  EXPECT_EQ(launch({{3, 2, 2}, {5, 3, 2}}, nullptr, count_threads, static_cast<int*>(counter)), cudaSuccess);
  int count = 0;
  cudaMemcpy(&count, counter, sizeof(int), cudaMemcpyDeviceToHost);
  EXPECT_EQ(count, 12 * 30);
}

TEST_F(LaunchTest, ShapesBeyondTheDevicesLimitsAreRefused) {
  int* none = nullptr;
  const auto status = [&](const dim3& grid, const dim3& block) {
    return launch({grid, block}, nullptr, count_threads, none);
  };
  set_stream_order(StreamOrder::lazy);  // so that those within the limits need not run
  EXPECT_EQ(status({1}, {0}), cudaErrorInvalidConfiguration);
  EXPECT_EQ(status({0}, {1}), cudaErrorInvalidConfiguration);
  EXPECT_EQ(status({1}, {1024}), cudaSuccess);
  EXPECT_EQ(status({1}, {1025}), cudaErrorInvalidConfiguration);
  EXPECT_EQ(status({1}, {1, 1, 64}), cudaSuccess);
  EXPECT_EQ(status({1}, {1, 1, 65}), cudaErrorInvalidConfiguration);
  EXPECT_EQ(status({1}, {32, 33}), cudaErrorInvalidConfiguration);
  EXPECT_EQ(status({0x7fffffff, 65535, 65535}, {1}), cudaSuccess);
  EXPECT_EQ(status({0x80000000}, {1}), cudaErrorInvalidConfiguration);
  EXPECT_EQ(status({1, 65536}, {1}), cudaErrorInvalidConfiguration);
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidConfiguration);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
}

TEST_F(LaunchTest, DynamicSharedMemoryAbove48KiBMustBeAskedForAndAbove163KiBIsNotThere) {
  const auto* kernel = reinterpret_cast<const void*>(count_threads);
  const auto allow = [&](int bytes) {
    return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  };
  const auto status = [&](std::size_t shared) {
    return launch({{1}, {1}, shared}, nullptr, count_threads, static_cast<int*>(nullptr));
  };
  set_stream_order(StreamOrder::lazy);
  EXPECT_EQ(status(48 * 1024), cudaSuccess);
  EXPECT_EQ(status(48 * 1024 + 1), cudaErrorInvalidValue);
  EXPECT_EQ(allow(163 * 1024 + 1), cudaErrorInvalidValue);
  EXPECT_EQ(allow(100 * 1024), cudaSuccess);
  EXPECT_EQ(status(100 * 1024), cudaSuccess);
  EXPECT_EQ(status(100 * 1024 + 1), cudaErrorInvalidValue);
  EXPECT_EQ(allow(163 * 1024), cudaSuccess);
  EXPECT_EQ(status(163 * 1024), cudaSuccess);
  EXPECT_EQ(cudaFuncSetAttribute(nullptr, cudaFuncAttributeMaxDynamicSharedMemorySize, 0),
            cudaErrorInvalidDeviceFunction);
}

TEST_F(LaunchTest, LaunchAttributesThatTheDeviceDoesNotHaveAreRefused) {
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeClusterDimension;
  cudaLaunchConfig_t config{};
  config.gridDim = config.blockDim = dim3(1);
  config.attrs = &attribute;
  config.numAttrs = 1;
  EXPECT_EQ(cudaLaunchKernelEx(&config, count_threads, nullptr), cudaErrorNotSupported);
}

TEST_F(FailureTest, AKernelsFailureIsThrownOnceByTheCallThatRunsIt) {
  for_each_order([] {
    const cudaStream_t stream = new_stream();
    EXPECT_THROW(
        {
          EXPECT_EQ(launch_failing(stream), cudaSuccess);
          EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
        },
        KernelError);
    EXPECT_EQ(last_report(), "planted failure");
    EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  });
}

TEST_F(FailureTest, AFailureDropsQueuedWork) {
  set_stream_order(StreamOrder::lazy);
  Log log;
  const cudaStream_t stream = new_stream();
  log.append(stream, 1);
  launch_failing(stream);
  log.append(stream, 2);
  EXPECT_THROW(cudaStreamSynchronize(stream), KernelError);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  EXPECT_EQ(log.ran(), (std::vector<int>{1}));
}

TEST_F(FailureTest, WhatAReleaseCallRunsIntoIsThrownByTheNextCall) {
  set_stream_order(StreamOrder::lazy);
  {
    const Numbers numbers(1, Memory::device);
    launch_failing(nullptr);
  }
  EXPECT_TRUE(live_allocations().empty());
  EXPECT_THROW(cudaDeviceSynchronize(), KernelError);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
}

TEST_F(FailureTest, AskedForStatusesFailuresAreStickyUntilReset) {
  const std::pair<KernelError::Kind, cudaError_t> expected[] = {
      {KernelError::Kind::illegal_address, cudaErrorIllegalAddress},
      {KernelError::Kind::hang, cudaErrorLaunchTimeout},
      {KernelError::Kind::race, cudaErrorLaunchFailure},
      {KernelError::Kind::barrier, cudaErrorLaunchFailure}};
  for (const auto& [kind, status] : expected) {
    for_each_order([kind = kind, status = status] {
      set_on_failure(OnFailure::status);
      const cudaStream_t stream = new_stream();
      const cudaError_t launched = launch_failing(stream, kind);
      EXPECT_TRUE(launched == cudaSuccess || launched == status);
      EXPECT_EQ(cudaStreamSynchronize(stream), status);
      void* memory = nullptr;
      EXPECT_EQ(cudaMalloc(&memory, 1), status);
      EXPECT_EQ(cudaGetLastError(), status);
      EXPECT_EQ(cudaGetLastError(), status);
      EXPECT_EQ(last_report(), "planted failure");
      reset_runtime();
      EXPECT_EQ(cudaGetLastError(), cudaSuccess);
      EXPECT_EQ(last_report(), "");
    });
  }
}

TEST_F(FailureTest, TheLastErrorIsForgottenWhenReadButNotWhenPeekedAt) {
  EXPECT_EQ(cudaSetDevice(1), cudaErrorInvalidDevice);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  EXPECT_EQ(cudaPeekAtLastError(), cudaErrorInvalidDevice);
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidDevice);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
}

TEST_F(DeviceTest, ThereIsOneAndItSaysWhatItIs) {
  int count = 0, device = -1, value = 0;
  EXPECT_EQ(cudaGetDeviceCount(&count), cudaSuccess);
  EXPECT_EQ(count, 1);
  EXPECT_EQ(cudaGetDevice(&device), cudaSuccess);
  EXPECT_EQ(device, 0);
  cudaDeviceProp properties{};
  EXPECT_EQ(cudaGetDeviceProperties(&properties, 0), cudaSuccess);
  EXPECT_EQ(std::string_view(properties.name), "SIMT machine");
  EXPECT_EQ(properties.major, 8);
  EXPECT_EQ(properties.minor, 0);
  EXPECT_EQ(properties.multiProcessorCount, 108);
  EXPECT_EQ(properties.sharedMemPerBlockOptin, 163u * 1024);
  EXPECT_EQ(cudaDeviceGetAttribute(&value, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0), cudaSuccess);
  EXPECT_EQ(value, 163 * 1024);
  EXPECT_EQ(cudaDeviceGetAttribute(&value, cudaDevAttrWarpSize, 1), cudaErrorInvalidDevice);
  EXPECT_EQ(cudaGetDeviceProperties(nullptr, 0), cudaErrorInvalidValue);
}

TEST_F(DeviceTest, ErrorsHaveTheirNamesAndTexts) {
  EXPECT_EQ(std::string_view(cudaGetErrorName(cudaErrorIllegalAddress)), "cudaErrorIllegalAddress");
  EXPECT_EQ(std::string_view(cudaGetErrorString(cudaErrorIllegalAddress)),
            "an illegal memory access was encountered");
  EXPECT_EQ(std::string_view(cudaGetErrorName(static_cast<cudaError_t>(1000))), "unrecognized error code");
}

TEST_F(DeviceTest, TheEnvironmentSetsTheOrderOfStreams) {
  const char* before = std::getenv("PAGELAB_EMU_STREAMS");
  const std::string saved = before == nullptr ? "" : before;
  const auto order_of = [](const char* value) {
    setenv("PAGELAB_EMU_STREAMS", value, 1);
    reset_runtime();
    return stream_order();
  };
  EXPECT_EQ(order_of("lazy"), StreamOrder::lazy);
  EXPECT_EQ(order_of("random:17"), StreamOrder::random);
  EXPECT_EQ(order_of("eager"), StreamOrder::eager);
  for (const char* wrong : {"random", "random:", "random:x", "late"}) {
    EXPECT_THROW(order_of(wrong), std::invalid_argument) << wrong;
  }
  before == nullptr ? unsetenv("PAGELAB_EMU_STREAMS") : setenv("PAGELAB_EMU_STREAMS", saved.c_str(), 1);
}

}  // namespace
}  // namespace pagelab::emu
