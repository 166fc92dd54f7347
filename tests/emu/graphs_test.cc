#include <algorithm>
#include <cmath>

#include "tests/emu/runtime_fixture.h"

namespace pagelab::emu {
namespace {

class GraphsTest : public RuntimeTest {};

cudaGraphExec_t instantiate(cudaGraph_t graph) {
  cudaGraphExec_t executable = nullptr;
  EXPECT_EQ(cudaGraphInstantiate(&executable, graph), cudaSuccess);
  EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);  // the executable graph lives on
  return executable;
}

/// Position of `number` in the log's `round`-th run of `per_round` entries.
std::size_t position(const Log& log, std::size_t round, std::size_t per_round, int number) {
  const auto begin = log.ran().begin() + static_cast<std::ptrdiff_t>(round * per_round);
  return static_cast<std::size_t>(std::find(begin, begin + static_cast<std::ptrdiff_t>(per_round), number) -
                                  begin);
}

TEST_F(GraphsTest, ACaptureRunsNothingAndAReplayReadsWhatMemoryHoldsThen) {
  for_each_order([] {
    Numbers in(8, Memory::pinned), device(8, Memory::device), out(8, Memory::pinned);
    const cudaStream_t stream = new_stream();
    std::ranges::fill(out.values(), -1.0f);
    ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), cudaSuccess);
    EXPECT_EQ(cudaMemcpyAsync(device.data(), in.data(), in.bytes(), cudaMemcpyHostToDevice, stream),
              cudaSuccess);
    EXPECT_EQ(cudaMemsetAsync(device.data(), 0, sizeof(float), stream), cudaSuccess);
    EXPECT_EQ(cudaMemcpyAsync(out.data(), device.data(), out.bytes(), cudaMemcpyDeviceToHost, stream),
              cudaSuccess);
    cudaGraph_t graph = nullptr;
    ASSERT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
    const cudaGraphExec_t executable = instantiate(graph);
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    EXPECT_EQ(out.values()[1], -1.0f);
    for (const float value : {1.0f, 2.0f, 3.0f}) {
      std::ranges::fill(in.values(), value);
      EXPECT_EQ(cudaGraphLaunch(executable, stream), cudaSuccess);
      EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
      EXPECT_EQ(out.values()[0], 0.0f);
      EXPECT_EQ(out.values()[1], value);
    }
    EXPECT_EQ(cudaGraphExecDestroy(executable), cudaSuccess);
    EXPECT_EQ(cudaGraphLaunch(executable, stream), cudaErrorInvalidValue);
  });
}

TEST_F(GraphsTest, AForkedAndJoinedCaptureKeepsItsEdgesInEveryReplay) {
  for_each_order([] {
    Log log;
    const cudaStream_t origin = new_stream(), fork = new_stream();
    const cudaEvent_t forked = new_event(), joined = new_event();
    ASSERT_EQ(cudaStreamBeginCapture(origin, cudaStreamCaptureModeGlobal), cudaSuccess);
    log.append(origin, 1);
    EXPECT_EQ(cudaEventRecord(forked, origin), cudaSuccess);
    EXPECT_EQ(cudaStreamWaitEvent(fork, forked), cudaSuccess);
    log.append(fork, 2);
    log.append(origin, 3);
    EXPECT_EQ(cudaEventRecord(joined, fork), cudaSuccess);
    EXPECT_EQ(cudaStreamWaitEvent(origin, joined), cudaSuccess);
    log.append(origin, 4);
    cudaGraph_t graph = nullptr;
    ASSERT_EQ(cudaStreamEndCapture(origin, &graph), cudaSuccess);
    const cudaGraphExec_t executable = instantiate(graph);
    EXPECT_EQ(cudaGraphLaunch(executable, origin), cudaSuccess);
    EXPECT_EQ(cudaGraphLaunch(executable, fork), cudaSuccess);  // another stream, yet never at the same time
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    ASSERT_EQ(log.ran().size(), 8u);
    for (const std::size_t round : {0, 1}) {
      EXPECT_EQ(position(log, round, 4, 1), 0u);
      EXPECT_EQ(position(log, round, 4, 4), 3u);
    }
  });
}

TEST_F(GraphsTest, AReplayComesBetweenTheWorkBeforeAndAfterIt) {
  for_each_order([] {
    Log log;
    const cudaStream_t stream = new_stream();
    ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), cudaSuccess);
    log.append(stream, 2);
    cudaGraph_t graph = nullptr;
    ASSERT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
    log.append(stream, 1);
    EXPECT_EQ(cudaGraphLaunch(instantiate(graph), stream), cudaSuccess);
    log.append(stream, 3);
    EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
    EXPECT_EQ(log.ran(), (std::vector<int>{1, 2, 3}));
  });
}

TEST_F(GraphsTest, WorkThatIsNotJoinedIsAnError) {
  Log log;
  const cudaStream_t origin = new_stream(), fork = new_stream();
  const cudaEvent_t forked = new_event();
  ASSERT_EQ(cudaStreamBeginCapture(origin, cudaStreamCaptureModeGlobal), cudaSuccess);
  EXPECT_EQ(cudaEventRecord(forked, origin), cudaSuccess);
  EXPECT_EQ(cudaStreamWaitEvent(fork, forked), cudaSuccess);
  log.append(fork, 1);
  cudaGraph_t graph = nullptr;
  EXPECT_EQ(cudaStreamEndCapture(origin, &graph), cudaErrorStreamCaptureUnjoined);
  EXPECT_EQ(graph, nullptr);
  EXPECT_EQ(log.append(fork, 2), cudaSuccess);  // no longer captured
  EXPECT_EQ(log.ran(), (std::vector<int>{2}));
}

/// What `call` returns during a capture on `stream`, and then its end.
template <class Call>
std::pair<cudaError_t, cudaError_t> while_capturing(cudaStream_t stream, cudaStreamCaptureMode mode,
                                                    Call call) {
  EXPECT_EQ(cudaStreamBeginCapture(stream, mode), cudaSuccess);
  const cudaError_t status = call();
  cudaGraph_t graph = nullptr;
  return {status, cudaStreamEndCapture(stream, &graph)};
}

TEST_F(GraphsTest, CallsThatACaptureForbidsFailAndEndIt) {
  const auto global = cudaStreamCaptureModeGlobal;
  const cudaStream_t stream = new_stream(), blocking = new_stream(cudaStreamDefault);
  const cudaEvent_t outside = new_event(), inside = new_event();
  void* memory = nullptr;
  cudaEventRecord(outside, nullptr);
  const auto ended = [](cudaError_t status) { return std::pair(status, cudaErrorStreamCaptureInvalidated); };

  EXPECT_EQ(while_capturing(stream, global, [&] { return cudaMalloc(&memory, 8); }),
            ended(cudaErrorStreamCaptureUnsupported));
  EXPECT_EQ(while_capturing(stream, global, [&] { return cudaStreamSynchronize(stream); }),
            ended(cudaErrorStreamCaptureUnsupported));
  EXPECT_EQ(while_capturing(stream, global, [] { return cudaDeviceSynchronize(); }),
            ended(cudaErrorStreamCaptureUnsupported));
  EXPECT_EQ(while_capturing(stream, global, [&] { return cudaStreamQuery(stream); }),
            ended(cudaErrorStreamCaptureUnsupported));
  EXPECT_EQ(while_capturing(blocking, global, [] { return cudaMemsetAsync(nullptr, 0, 0, nullptr); }),
            std::pair(cudaSuccess, cudaSuccess));
  EXPECT_EQ(while_capturing(blocking, global, [&] { return Log().append(nullptr, 1); }),
            ended(cudaErrorStreamCaptureImplicit));
  EXPECT_EQ(while_capturing(stream, global, [&] { return cudaStreamWaitEvent(stream, outside); }),
            ended(cudaErrorStreamCaptureIsolation));
  EXPECT_EQ(while_capturing(stream, global,
                            [&] {
                              cudaEventRecord(inside, stream);
                              return cudaEventSynchronize(inside);
                            }),
            ended(cudaErrorCapturedEvent));
  EXPECT_EQ(cudaStreamWaitEvent(blocking, inside), cudaErrorCapturedEvent);
  EXPECT_EQ(while_capturing(stream, cudaStreamCaptureModeRelaxed, [&] { return cudaMalloc(&memory, 8); }),
            std::pair(cudaSuccess, cudaSuccess));
}

TEST_F(GraphsTest, CapturesThatCannotBeginOrEndSaySo) {
  const cudaStream_t stream = new_stream(), other = new_stream();
  cudaGraph_t graph = nullptr;
  EXPECT_EQ(cudaStreamBeginCapture(nullptr, cudaStreamCaptureModeGlobal), cudaErrorStreamCaptureUnsupported);
  EXPECT_EQ(cudaStreamEndCapture(stream, &graph), cudaErrorIllegalState);
  ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), cudaSuccess);
  EXPECT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), cudaErrorIllegalState);
  const cudaEvent_t event = new_event();
  cudaEventRecord(event, stream);
  cudaStreamWaitEvent(other, event);
  EXPECT_EQ(cudaStreamEndCapture(other, &graph), cudaErrorStreamCaptureUnmatched);
  EXPECT_EQ(cudaStreamEndCapture(stream, &graph), cudaErrorStreamCaptureInvalidated);
  EXPECT_EQ(cudaGraphInstantiate(nullptr, graph), cudaErrorInvalidValue);
}

}  // namespace
}  // namespace pagelab::emu
