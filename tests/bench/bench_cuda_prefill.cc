// How close prefill attention on the CUDA device comes to its multipliers' peak: chunks of 128 to 8,192
// tokens, alone and after a cached prefix, over a pool of blocks in random order. Times are those of CUDA
// events around the launch; the work counted is what causality leaves. On the SIMT machine the program runs a
// few small cases and its times mean nothing.
#include <benchmark/benchmark.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <exception>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "kernels/cuda/prefill_attention.h"
#include "kernels/cuda/status.h"

namespace pagelab::kernels {
namespace {

namespace cuda = PAGELAB_CUDA_VARIANT;
using cuda::check;

constexpr std::int32_t kBlockSize = 16;
#ifdef PAGELAB_EMULATED_RUNTIME
constexpr std::int32_t kHeads = 4;
constexpr std::int32_t kLongest = 128;
#else
constexpr std::int32_t kHeads = 32;
constexpr std::int32_t kLongest = 8192;
#endif

class DeviceBuffer {
 public:
  explicit DeviceBuffer(std::size_t bytes) : bytes_(bytes) { check(cudaMalloc(&data_, bytes), "cudaMalloc"); }
  template <class T>
  explicit DeviceBuffer(const std::vector<T>& values) : DeviceBuffer(values.size() * sizeof(T)) {
    check(cudaMemcpy(data_, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice), "cudaMemcpy");
  }
  ~DeviceBuffer() { cudaFree(data_); }
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;

  /// With bytes that are small numbers in every type.
  void fill() { check(cudaMemset(data_, 0x3c, bytes_), "cudaMemset"); }
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  std::size_t bytes_;
  void* data_ = nullptr;
};

class Event {
 public:
  Event() { check(cudaEventCreate(&event_), "cudaEventCreate"); }
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void record() { check(cudaEventRecord(event_, nullptr), "cudaEventRecord"); }
  /// Seconds from `start` to this event, which is waited for.
  double since(const Event& start) const {
    float milliseconds = 0;
    check(cudaEventSynchronize(event_), "cudaEventSynchronize");
    check(cudaEventElapsedTime(&milliseconds, start.event_, event_), "cudaEventElapsedTime");
    return double{milliseconds} * 1e-3;
  }

 private:
  cudaEvent_t event_ = nullptr;
};

struct Shape {
  std::int32_t sequences, chunk, prefix, head_size, group;
  DType dtype;

  std::int32_t kv_heads() const { return kHeads / group; }
  std::int32_t tokens() const { return sequences * chunk; }
  std::int32_t blocks() const { return (prefix + chunk + kBlockSize - 1) / kBlockSize; }  ///< of a sequence
  std::int64_t plane() const { return std::int64_t{kv_heads()} * kBlockSize * head_size; }
  std::int64_t columns() const { return std::int64_t{kHeads + 2 * kv_heads()} * head_size; }
  /// Of both products, over the positions that each row sees.
  double flop() const {
    const double seen = (prefix + (chunk + 1) / 2.0) * chunk;
    return 4.0 * head_size * kHeads * sequences * seen;
  }
};

/// Sequences of one shape, as a step's arrays and in a pool.
struct Step {
  explicit Step(const Shape& of)
      : shape(of),
        pool(static_cast<std::size_t>(2 * shape.plane() * shape.sequences * shape.blocks()) *
             size_of(shape.dtype)),
        qkv(static_cast<std::size_t>(shape.tokens() * shape.columns()) * sizeof(float)),
        out(static_cast<std::size_t>(shape.tokens()) * static_cast<std::size_t>(kHeads * shape.head_size) *
            4),
        query_indptr(steps_of(shape.chunk)),
        kv_indptr(steps_of(shape.blocks())),
        kv_indices(shuffled_blocks()),
        last_block_len(std::vector<std::int32_t>(static_cast<std::size_t>(shape.sequences),
                                                 (shape.prefix + shape.chunk - 1) % kBlockSize + 1)),
        positions(positions_of_tokens()),
        items(items_of_chunks()) {
    pool.fill();
    qkv.fill();
  }

  void run() const {
    cuda::AttentionQueries queries{qkv.as<float>(), shape.columns(), out.as<float>(), kHeads,
                                   1.0f / std::sqrt(static_cast<float>(shape.head_size))};
    cuda::PagedKv kv;
    kv.keys = pool.as<std::byte>();
    kv.values = pool.as<std::byte>() + shape.plane() * static_cast<std::int64_t>(size_of(shape.dtype));
    kv.block_stride = 2 * shape.plane();
    kv.block_size = kBlockSize;
    kv.kv_heads = shape.kv_heads();
    kv.head_size = shape.head_size;
    kv.dtype = shape.dtype;
    cuda::DeviceBatch batch;
    batch.query_indptr = query_indptr.as<std::int32_t>();
    batch.kv_indptr = kv_indptr.as<std::int32_t>();
    batch.kv_indices = kv_indices.as<std::int32_t>();
    batch.last_block_len = last_block_len.as<std::int32_t>();
    batch.positions = positions.as<std::int32_t>();
    batch.sequences = shape.sequences;
    batch.tokens = shape.tokens();
    const std::int32_t per_chunk = (shape.chunk + cuda::kPrefillRows - 1) / cuda::kPrefillRows;
    cuda::prefill_attention(nullptr, queries, kv, batch, items.as<cuda::PrefillItem>(),
                            shape.sequences * per_chunk);
  }

  Shape shape;
  DeviceBuffer pool, qkv, out, query_indptr, kv_indptr, kv_indices, last_block_len, positions, items;

 private:
  std::vector<std::int32_t> steps_of(std::int32_t length) const {
    std::vector<std::int32_t> steps;
    for (std::int32_t i = 0; i <= shape.sequences; ++i) {
      steps.push_back(i * length);
    }
    return steps;
  }
  std::vector<std::int32_t> shuffled_blocks() const {
    std::vector<std::int32_t> blocks(static_cast<std::size_t>(shape.sequences * shape.blocks()));
    std::iota(blocks.begin(), blocks.end(), 0);
    std::shuffle(blocks.begin(), blocks.end(), std::mt19937(1));
    return blocks;
  }
  std::vector<std::int32_t> positions_of_tokens() const {
    std::vector<std::int32_t> result;
    for (std::int32_t i = 0; i < shape.tokens(); ++i) {
      result.push_back(shape.prefix + i % shape.chunk);
    }
    return result;
  }
  std::vector<cuda::PrefillItem> items_of_chunks() const {
    std::vector<cuda::PrefillItem> result;
    for (std::int32_t sequence = 0; sequence < shape.sequences; ++sequence) {
      for (std::int32_t row = 0; row < shape.chunk; row += cuda::kPrefillRows) {
        result.push_back({sequence, row});
      }
    }
    return result;
  }
};

int attribute(cudaDeviceAttr which) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, which, 0), "cudaDeviceGetAttribute");
  return value;
}

/// FLOP/s at the boost clock: of the tensor cores with 16-bit inputs and float accumulation (dense), or of
/// float outside of them; 0 if the device does not tell its clock or is of a kind that is not listed. FLOP
/// per cycle and multiprocessor are those of NVIDIA's architecture whitepapers (GA100, GA102, AD102, GH100).
double peak(DType dtype) {
  struct Rate {
    int capability;
    double tensor, plain;
  };
  constexpr Rate kRates[] = {{80, 2048, 128}, {86, 512, 256}, {89, 512, 256}, {90, 4096, 256}};
  const int capability =
      10 * attribute(cudaDevAttrComputeCapabilityMajor) + attribute(cudaDevAttrComputeCapabilityMinor);
  for (const Rate& rate : kRates) {
    if (rate.capability == capability) {
      return (dtype == DType::f32 ? rate.plain : rate.tensor) * attribute(cudaDevAttrMultiProcessorCount) *
             attribute(cudaDevAttrClockRate) * 1e3;
    }
  }
  return 0;
}

void prefill(benchmark::State& state, DType dtype) {
  const auto argument = [&](std::size_t i) { return static_cast<std::int32_t>(state.range(i)); };
  const Step step({argument(4), argument(2), argument(3), argument(0), argument(1), dtype});
  Event start, stop;
  step.run();  // the module's loading
  double seconds = 0;
  for (auto _ : state) {
    start.record();
    step.run();
    stop.record();
    const double time = stop.since(start);
    seconds += time;
    state.SetIterationTime(time);
  }
  const double speed = step.shape.flop() * static_cast<double>(state.iterations()) / seconds;
  state.counters["TFLOP/s"] = speed * 1e-12;
  if (peak(dtype) > 0) {
    state.counters["of_peak"] = speed / peak(dtype);
  }
  state.SetLabel("repeat: --benchmark_filter='^prefill/" + std::string(name_of(dtype)) +
                 "/head:" + std::to_string(step.shape.head_size) +
                 "/group:" + std::to_string(step.shape.group) + "/chunk:" + std::to_string(step.shape.chunk) +
                 "/prefix:" + std::to_string(step.shape.prefix) +
                 "/sequences:" + std::to_string(step.shape.sequences) + "/manual_time$'");
}

void shapes(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"head", "group", "chunk", "prefix", "sequences"})
      ->UseManualTime()
      ->Unit(benchmark::kMicrosecond);
  for (const int chunk : {128, 512, 2048, 8192}) {
    if (chunk > kLongest) {
      continue;
    }
    const int sequences = std::max(1, kLongest / 2 / chunk);
    for (const int head : {64, 80, 96, 128, 256}) {
      bench->Args({head, 1, chunk, 0, sequences});
    }
    bench->Args({128, 4, chunk, 0, sequences});
    bench->Args({128, 1, chunk, kLongest / 2, sequences});
    bench->Args({128, 4, chunk, kLongest / 2, sequences});
  }
}
BENCHMARK_CAPTURE(prefill, f16, DType::f16)->Apply(shapes);
BENCHMARK_CAPTURE(prefill, bf16, DType::bf16)->Apply(shapes);
BENCHMARK_CAPTURE(prefill, f32, DType::f32)->Apply(shapes);

}  // namespace
}  // namespace pagelab::kernels

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  try {
    cudaDeviceProp properties{};
    pagelab::kernels::check(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
    std::printf("device: %s, %d multiprocessors\n", properties.name, properties.multiProcessorCount);
    benchmark::RunSpecifiedBenchmarks();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_cuda_prefill: %s\n", error.what());
    return 1;
  }
  return 0;
}
