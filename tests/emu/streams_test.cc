#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <set>

#include "kernels/emu/device.h"
#include "tests/emu/runtime_fixture.h"

namespace pagelab::emu {
namespace {

constexpr unsigned kCount = 100;

__global__ void scale(const float* in, float* out, float factor, unsigned count) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) {
    out[i] = factor * in[i];
  }
}

cudaError_t launch_scale(cudaStream_t stream, const float* in, float* out, float factor) {
  cudaLaunchConfig_t config{};
  config.gridDim = dim3((kCount + 31) / 32);
  config.blockDim = dim3(32);
  config.stream = stream;
  return cudaLaunchKernelEx(&config, scale, in, out, factor, kCount);
}

class StreamsTest : public RuntimeTest {};

/// Numbers are uploaded on one stream and doubled on another, which waits for the upload if `waits`.
bool doubled_behind_upload(bool waits) {
  Numbers host(kCount, Memory::pinned), in(kCount, Memory::device), out(kCount, Memory::device);
  std::ranges::fill(host.values(), 3.0f);
  const cudaStream_t copies = new_stream(), compute = new_stream();
  const cudaEvent_t uploaded = new_event(cudaEventDisableTiming);
  EXPECT_EQ(cudaMemcpyAsync(in.data(), host.data(), in.bytes(), cudaMemcpyHostToDevice, copies), cudaSuccess);
  EXPECT_EQ(cudaEventRecord(uploaded, copies), cudaSuccess);
  if (waits) {
    EXPECT_EQ(cudaStreamWaitEvent(compute, uploaded), cudaSuccess);
  }
  EXPECT_EQ(launch_scale(compute, in.data(), out.data(), 2.0f), cudaSuccess);
  std::vector<float> result(kCount);
  EXPECT_EQ(cudaMemcpyAsync(result.data(), out.data(), out.bytes(), cudaMemcpyDeviceToHost, compute),
            cudaSuccess);
  return std::ranges::all_of(result, [](float value) { return value == 6.0f; });
}

TEST_F(StreamsTest, AWaitForAnEventOrdersTwoStreamsInEveryOrder) {
  for_each_order([] { EXPECT_TRUE(doubled_behind_upload(true)); });
}

TEST_F(StreamsTest, AMissingWaitGoesUnseenEagerlyAndShowsLazilyAndInSomeRandomOrder) {
  EXPECT_TRUE(doubled_behind_upload(false));
  set_stream_order(StreamOrder::lazy);
  EXPECT_FALSE(doubled_behind_upload(false));
  int wrong = 0;
  for (std::uint64_t seed = 0; seed < 16; ++seed) {
    set_stream_order(StreamOrder::random, seed);
    wrong += !doubled_behind_upload(false);
  }
  EXPECT_GT(wrong, 0);
  EXPECT_LT(wrong, 16);
}

TEST_F(StreamsTest, WorkOfOneStreamRunsInOrder) {
  for_each_order([] {
    Log log;
    const cudaStream_t stream = new_stream();
    for (int i = 0; i < 10; ++i) {
      EXPECT_EQ(log.append(stream, i), cudaSuccess);
    }
    EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
    EXPECT_EQ(log.ran(), (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
  });
}

TEST_F(StreamsTest, LazyRunsOnlyWhatASynchronisationDemands) {
  set_stream_order(StreamOrder::lazy);
  Log log;
  const cudaStream_t first = new_stream(), second = new_stream(), third = new_stream();
  const cudaEvent_t event = new_event();
  log.append(first, 1);
  cudaEventRecord(event, first);
  log.append(first, 2);
  log.append(second, 3);
  cudaStreamWaitEvent(third, event);
  log.append(third, 4);
  EXPECT_TRUE(log.ran().empty());
  EXPECT_EQ(cudaStreamSynchronize(third), cudaSuccess);
  EXPECT_EQ(log.ran(), (std::vector<int>{1, 4}));
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  EXPECT_EQ(log.ran(), (std::vector<int>{1, 4, 2, 3}));
}

TEST_F(StreamsTest, TheDefaultStreamWaitsForBlockingStreamsAndTheyForItButOthersDoNot) {
  set_stream_order(StreamOrder::lazy);
  Log log;
  const cudaStream_t blocking = new_stream(cudaStreamDefault), other = new_stream(cudaStreamNonBlocking);
  log.append(blocking, 1);
  log.append(other, 2);
  log.append(nullptr, 3);
  log.append(blocking, 4);
  log.append(other, 5);
  EXPECT_EQ(cudaStreamSynchronize(blocking), cudaSuccess);
  EXPECT_EQ(log.ran(), (std::vector<int>{1, 3, 4}));
  EXPECT_EQ(cudaStreamSynchronize(other), cudaSuccess);
  EXPECT_EQ(log.ran(), (std::vector<int>{1, 3, 4, 2, 5}));
}

TEST_F(StreamsTest, TheDefaultStreamWaitsForTheWorkOfADestroyedStream) {
  set_stream_order(StreamOrder::lazy);
  Log log;
  const cudaStream_t stream = new_stream(cudaStreamDefault);
  log.append(stream, 1);
  EXPECT_EQ(cudaStreamDestroy(stream), cudaSuccess);
  EXPECT_TRUE(log.ran().empty());
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaErrorInvalidResourceHandle);
  log.append(nullptr, 2);
  EXPECT_EQ(cudaStreamSynchronize(nullptr), cudaSuccess);
  EXPECT_EQ(log.ran(), (std::vector<int>{1, 2}));
}

TEST_F(StreamsTest, AWaitIsForTheRecordThatTheEventHadThen) {
  set_stream_order(StreamOrder::lazy);
  Log log;
  const cudaStream_t first = new_stream(), second = new_stream();
  const cudaEvent_t event = new_event();
  EXPECT_EQ(cudaStreamWaitEvent(second, event), cudaSuccess);  // never recorded: nothing to wait for
  log.append(first, 1);
  cudaEventRecord(event, first);
  cudaStreamWaitEvent(second, event);
  log.append(first, 2);
  cudaEventRecord(event, first);
  EXPECT_EQ(cudaStreamSynchronize(second), cudaSuccess);
  EXPECT_EQ(log.ran(), (std::vector<int>{1}));
  EXPECT_EQ(cudaEventSynchronize(event), cudaSuccess);
  EXPECT_EQ(log.ran(), (std::vector<int>{1, 2}));
}

TEST_F(StreamsTest, PollingEndsInEveryOrder) {
  for_each_order([] {
    Log log;
    const cudaStream_t stream = new_stream();
    const cudaEvent_t event = new_event();
    EXPECT_EQ(cudaEventQuery(event), cudaSuccess);
    EXPECT_EQ(cudaStreamQuery(stream), cudaSuccess);
    log.append(stream, 1);
    cudaEventRecord(event, stream);
    while (cudaEventQuery(event) == cudaErrorNotReady) {
    }
    EXPECT_EQ(log.ran(), (std::vector<int>{1}));
    log.append(stream, 2);
    while (cudaStreamQuery(stream) == cudaErrorNotReady) {
    }
    EXPECT_EQ(log.ran(), (std::vector<int>{1, 2}));
  });
}

TEST_F(StreamsTest, AQueryDoesNotMakeLazyWorkReadyAtOnce) {
  set_stream_order(StreamOrder::lazy);
  Log log;
  log.append(nullptr, 1);
  EXPECT_EQ(cudaStreamQuery(nullptr), cudaErrorNotReady);
  EXPECT_TRUE(log.ran().empty());
}

TEST_F(StreamsTest, EventsTellTheTimeBetweenThemOnceBothHaveHappened) {
  set_stream_order(StreamOrder::lazy);
  const cudaStream_t stream = new_stream();
  const cudaEvent_t begin = new_event(), end = new_event(), untimed = new_event(cudaEventDisableTiming);
  float milliseconds = -1;
  EXPECT_EQ(cudaEventElapsedTime(&milliseconds, begin, end), cudaErrorInvalidResourceHandle);
  for (const cudaEvent_t event : {begin, end, untimed}) {
    EXPECT_EQ(cudaEventRecord(event, stream), cudaSuccess);
  }
  EXPECT_EQ(cudaEventElapsedTime(&milliseconds, begin, end), cudaErrorNotReady);
  EXPECT_EQ(cudaEventSynchronize(end), cudaSuccess);
  EXPECT_EQ(cudaEventElapsedTime(&milliseconds, begin, end), cudaSuccess);
  EXPECT_GE(milliseconds, 0);
  EXPECT_EQ(cudaEventElapsedTime(&milliseconds, begin, untimed), cudaErrorInvalidResourceHandle);
}

TEST_F(StreamsTest, AHostFunctionMayNotCallCuda) {
  cudaError_t status = cudaSuccess;
  const cudaHostFn_t call_cuda = [](void* result) {
    *static_cast<cudaError_t*>(result) = cudaDeviceSynchronize();
  };
  EXPECT_EQ(cudaLaunchHostFunc(nullptr, call_cuda, &status), cudaSuccess);
  EXPECT_EQ(status, cudaErrorNotPermitted);
}

TEST_F(StreamsTest, ForeignHandlesAreRefused) {
  int storage = 0;
  const auto stream = reinterpret_cast<cudaStream_t>(&storage);
  const auto event = reinterpret_cast<cudaEvent_t>(&storage);
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaErrorInvalidResourceHandle);
  EXPECT_EQ(cudaStreamDestroy(stream), cudaErrorInvalidResourceHandle);
  EXPECT_EQ(cudaStreamDestroy(nullptr), cudaErrorInvalidResourceHandle);
  EXPECT_EQ(cudaEventRecord(event, nullptr), cudaErrorInvalidResourceHandle);
  EXPECT_EQ(cudaEventDestroy(event), cudaErrorInvalidResourceHandle);
  EXPECT_EQ(launch_scale(stream, nullptr, nullptr, 1), cudaErrorInvalidResourceHandle);
}

/// What operation `i` of a program must come after: the closure of stream order and of the events waited for.
using Before = std::vector<std::set<int>>;

RC_GTEST_FIXTURE_PROP(StreamsTest, EveryOrderKeepsWhatStreamsAndEventsDemandOfAnyProgram, ()) {
  constexpr std::size_t kStreams = 4;
  const auto named = *rc::gen::elementOf(all_orders());
  reset_runtime();
  set_stream_order(named.order, named.seed);
  std::vector<cudaStream_t> streams;
  std::vector<cudaEvent_t> events;
  for (std::size_t i = 0; i < kStreams; ++i) {
    streams.push_back(new_stream());
    events.push_back(new_event());
  }
  std::vector<std::set<int>> of_stream(kStreams), of_event(kStreams);
  Before before;
  Log log;
  for (int step = *rc::gen::inRange(0, 60); step > 0; --step) {
    const auto s = *rc::gen::inRange<std::size_t>(0, kStreams);
    const auto e = *rc::gen::inRange<std::size_t>(0, kStreams);
    switch (*rc::gen::inRange(0, 3)) {
      case 0: {
        const int number = static_cast<int>(before.size());
        RC_ASSERT(log.append(streams[s], number) == cudaSuccess);
        before.push_back(of_stream[s]);
        of_stream[s].insert(number);
        break;
      }
      case 1:
        RC_ASSERT(cudaEventRecord(events[e], streams[s]) == cudaSuccess);
        of_event[e] = of_stream[s];
        break;
      default:
        RC_ASSERT(cudaStreamWaitEvent(streams[s], events[e]) == cudaSuccess);
        of_stream[s].insert(of_event[e].begin(), of_event[e].end());
    }
  }
  const auto last = *rc::gen::inRange<std::size_t>(0, kStreams);
  RC_ASSERT(cudaStreamSynchronize(streams[last]) == cudaSuccess);
  const std::set<int> synchronised(log.ran().begin(), log.ran().end());
  RC_ASSERT(std::ranges::includes(synchronised, of_stream[last]));
  RC_ASSERT(named.order != StreamOrder::lazy || synchronised == of_stream[last]);
  RC_ASSERT(cudaDeviceSynchronize() == cudaSuccess);
  std::set<int> ran;
  for (const int number : log.ran()) {
    RC_ASSERT(std::ranges::includes(ran, before[static_cast<std::size_t>(number)]));
    RC_ASSERT(ran.insert(number).second);
  }
  RC_ASSERT(ran.size() == before.size());
}

}  // namespace
}  // namespace pagelab::emu
