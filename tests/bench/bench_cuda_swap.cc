// Traffic of KV blocks on the CUDA device, for a cache of OPT-13B's shape (f16): swapping a sequence out and
// in by block size, once as one launch over mapped pinned memory, once as the paper's copies, one per block
// and layer (SOSP'23, figure 19a); and copies on write within the device. Blocks lie in random order. Times
// are the host's from the first call until the stream is empty, since queueing many small copies is part of
// their cost. On the SIMT machine the program runs a fraction of the shape and its times mean nothing.
#include <benchmark/benchmark.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <exception>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "kernels/cuda/kv_blocks.h"
#include "kernels/cuda/status.h"

namespace pagelab::kernels {
namespace {

namespace cuda = PAGELAB_CUDA_VARIANT;
using cuda::check;

#ifdef PAGELAB_EMULATED_RUNTIME
constexpr std::int32_t kLayers = 1;
constexpr std::int32_t kTokens = 256;
#else
constexpr std::int32_t kLayers = 40;
constexpr std::int32_t kTokens = 1024;  ///< of the sequence that is swapped
#endif

KvShape opt_13b(std::int32_t block_size) {
  return {.layers = kLayers, .kv_heads = 40, .head_size = 128, .block_size = block_size, .dtype = DType::f16};
}

/// A pool of `blocks` blocks in device memory, or pinned in the host's and mapped.
class Pool {
 public:
  Pool(std::int64_t bytes, bool on_host) : on_host_(on_host) {
    if (on_host) {
      check(cudaHostAlloc(&data_, static_cast<std::size_t>(bytes), cudaHostAllocMapped), "cudaHostAlloc");
      std::memset(data_, 0x3c, static_cast<std::size_t>(bytes));
    } else {
      check(cudaMalloc(&data_, static_cast<std::size_t>(bytes)), "cudaMalloc");
      check(cudaMemset(data_, 0x3c, static_cast<std::size_t>(bytes)), "cudaMemset");
    }
  }
  ~Pool() { on_host_ ? cudaFreeHost(data_) : cudaFree(data_); }
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  std::byte* data() const { return static_cast<std::byte*>(data_); }

 private:
  bool on_host_;
  void* data_ = nullptr;
};

/// `count` copies out of and into pools of `count` blocks, in random order.
std::vector<BlockCopy> shuffled_copies(std::int32_t count) {
  std::vector<std::int32_t> order(static_cast<std::size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), std::mt19937(1));
  std::vector<BlockCopy> copies;
  for (std::int32_t i = 0; i < count; ++i) {
    copies.push_back({i, order[static_cast<std::size_t>(i)]});
  }
  return copies;
}

/// Copies of blocks of one shape from one pool to another, on a stream.
class Traffic {
 public:
  Traffic(const KvShape& shape, std::int32_t count, bool source_on_host, bool target_on_host)
      : shape_(shape),
        copies_(shuffled_copies(count)),
        source_(shape.block_bytes() * count, source_on_host),
        target_(shape.block_bytes() * count, target_on_host),
        device_copies_(static_cast<std::int64_t>(copies_.size() * sizeof(BlockCopy)), false) {
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
    check(cudaMemcpy(device_copies_.data(), copies_.data(), copies_.size() * sizeof(BlockCopy),
                     cudaMemcpyHostToDevice),
          "cudaMemcpy");
    check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  }
  ~Traffic() { cudaStreamDestroy(stream_); }
  Traffic(const Traffic&) = delete;
  Traffic& operator=(const Traffic&) = delete;

  std::int64_t bytes() const { return shape_.block_bytes() * static_cast<std::int64_t>(copies_.size()); }

  void in_one_launch() {
    cuda::copy_blocks(stream_, source_.data(), target_.data(), shape_.block_bytes(),
                      reinterpret_cast<const BlockCopy*>(device_copies_.data()),
                      static_cast<std::int32_t>(copies_.size()));
    wait();
  }

  /// K and V of each layer by themselves, as the paper's engine keeps and copies them.
  void per_block_and_layer() {
    const std::int64_t part = shape_.block_bytes() / (2 * shape_.layers);
    for (const BlockCopy& copy : copies_) {
      for (std::int64_t at = 0; at < shape_.block_bytes(); at += part) {
        check(cudaMemcpyAsync(target_.data() + copy.target * shape_.block_bytes() + at,
                              source_.data() + copy.source * shape_.block_bytes() + at,
                              static_cast<std::size_t>(part), cudaMemcpyDefault, stream_),
              "cudaMemcpyAsync");
      }
    }
    wait();
  }

 private:
  void wait() { check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize"); }

  KvShape shape_;
  std::vector<BlockCopy> copies_;
  Pool source_, target_, device_copies_;
  cudaStream_t stream_ = nullptr;
};

/// Times copy() in every iteration; the speed is that of the fastest, since whatever else runs only adds
/// time.
template <class Copy>
void measure(benchmark::State& state, const Traffic& traffic, const std::string& name, Copy copy) {
  copy();  // the first touch of mapped memory and the module's loading
  double fastest = std::numeric_limits<double>::infinity();
  for (auto _ : state) {
    const auto start = std::chrono::steady_clock::now();
    copy();
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
    fastest = std::min(fastest, time.count());
    state.SetIterationTime(time.count());
  }
  state.counters["GB/s"] = static_cast<double>(traffic.bytes()) / fastest * 1e-9;
  state.counters["MB"] = static_cast<double>(traffic.bytes()) * 1e-6;
  state.SetLabel("repeat: --benchmark_filter='^" + name + "/manual_time$'");
}

enum class Way { batched, per_block };

void swap(benchmark::State& state, const char* name, bool out, Way way) {
  const auto block_size = static_cast<std::int32_t>(state.range(0));
  Traffic traffic(opt_13b(block_size), kTokens / block_size, !out, out);
  measure(state, traffic, std::string("swap/") + name + "/block:" + std::to_string(block_size),
          [&] { way == Way::batched ? traffic.in_one_launch() : traffic.per_block_and_layer(); });
}

void block_sizes(benchmark::internal::Benchmark* bench) {
  bench->ArgName("block")->RangeMultiplier(2)->Range(1, 256)->UseManualTime()->Unit(benchmark::kMillisecond);
}
BENCHMARK_CAPTURE(swap, out_batched, "out_batched", true, Way::batched)->Apply(block_sizes);
BENCHMARK_CAPTURE(swap, out_per_block, "out_per_block", true, Way::per_block)->Apply(block_sizes);
BENCHMARK_CAPTURE(swap, in_batched, "in_batched", false, Way::batched)->Apply(block_sizes);
BENCHMARK_CAPTURE(swap, in_per_block, "in_per_block", false, Way::per_block)->Apply(block_sizes);

void copy_on_write(benchmark::State& state) {
  const auto block_size = static_cast<std::int32_t>(state.range(0));
  const auto copies = static_cast<std::int32_t>(state.range(1));
  Traffic traffic(opt_13b(block_size), copies, false, false);
  measure(state, traffic,
          "copy_on_write/block:" + std::to_string(block_size) + "/copies:" + std::to_string(copies),
          [&] { traffic.in_one_launch(); });
}
BENCHMARK(copy_on_write)
    ->ArgNames({"block", "copies"})
    ->ArgsProduct({{1, 16, 256}, {1, 8}})
    ->Args({16, 64})
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

/// What the numbers are to be compared with.
void print_device() {
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
  std::printf("device: %s, %d multiprocessors; cache: OPT-13B, %d layers, %d tokens swapped\n",
              properties.name, properties.multiProcessorCount, kLayers, kTokens);
}

}  // namespace
}  // namespace pagelab::kernels

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  try {
    pagelab::kernels::print_device();
    benchmark::RunSpecifiedBenchmarks();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_cuda_swap: %s\n", error.what());
    return 1;
  }
  return 0;
}
