// Decode attention on the CUDA device: how close it comes to the memory's bandwidth by batch and context, and
// what paging costs against contiguous KV (SOSP'23, figure 18a), by block size. Times are those of CUDA
// events around the kernels of one layer, the KV not in L2, as it is not when a step's other layers have run
// in between. Every case can be repeated by the command in its label. On the SIMT machine, or with --smoke,
// small cases run; the machine's times mean nothing.
#include <benchmark/benchmark.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "kernels/cuda/decode_attention.h"
#include "tests/cuda/device_array.h"

namespace pagelab::testing {
namespace {

using kernels::DType;

struct Case {
  DType dtype = DType::f16;
  std::int32_t heads = 32;
  std::int32_t kv_heads = 32;
  std::int32_t head_size = 128;
  std::int32_t block_size = 16;
  std::int32_t batch = 1;
  std::int32_t context = 1024;
  bool paged = true;

  std::string name() const {
    return "decode/" + std::string(kernels::name_of(dtype)) + "/heads:" + std::to_string(heads) +
           "/kv_heads:" + std::to_string(kv_heads) + "/head:" + std::to_string(head_size) +
           "/batch:" + std::to_string(batch) + "/context:" + std::to_string(context) +
           (paged ? "/block:" + std::to_string(block_size) : std::string("/contiguous"));
  }
  std::int32_t blocks_per_sequence() const { return (context + block_size - 1) / block_size; }
  std::int64_t slots() const { return std::int64_t{batch} * blocks_per_sequence() * block_size; }
  /// Bytes of K and V, that is, what the kernels must read.
  std::int64_t kv_bytes() const {
    return std::int64_t{2} * batch * context * kv_heads * head_size *
           static_cast<std::int64_t>(kernels::size_of(dtype));
  }
  std::int64_t pool_bytes() const {
    return 2 * slots() * kv_heads * head_size * static_cast<std::int64_t>(kernels::size_of(dtype));
  }
};

int attribute(cudaDeviceAttr which) {
  int value = 0;
  cuda::check(cudaDeviceGetAttribute(&value, which, 0), "cudaDeviceGetAttribute");
  return value;
}

/// Bytes per second of the device's memory, twice the clock for its two edges; 0 if the device does not say.
double peak_bandwidth() {
  return 2e3 * attribute(cudaDevAttrMemoryClockRate) * attribute(cudaDevAttrGlobalMemoryBusWidth) / 8;
}

/// Everything that the kernels of a case read and write, the values of KV being of no interest.
class Served {
 public:
  explicit Served(const Case& c)
      : case_(c),
        pool_(static_cast<std::size_t>(c.pool_bytes())),
        qkv_(std::vector<float>(static_cast<std::size_t>(c.batch * qkv_columns()), 0.01f)),
        out_(static_cast<std::size_t>(c.batch * c.heads * c.head_size)),
        cold_(2 * static_cast<std::size_t>(attribute(cudaDevAttrL2CacheSize))) {
    cuda::check(cudaMemset(pool_.data(), 0x3c, pool_.size()), "cudaMemset");
    cuda::check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
    cuda::check(cudaEventCreate(&begin_), "cudaEventCreate");
    cuda::check(cudaEventCreate(&end_), "cudaEventCreate");
    make_batch();
    cuda::check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  }
  ~Served() {
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
    cudaStreamDestroy(stream_);
  }
  Served(const Served&) = delete;
  Served& operator=(const Served&) = delete;

  /// Seconds of the kernels of one layer.
  double run() {
    if (cold_.size() > 0) {
      cuda::check(cudaMemsetAsync(cold_.data(), 0, cold_.size(), stream_), "cudaMemsetAsync");
    }
    cuda::check(cudaEventRecord(begin_, stream_), "cudaEventRecord");
    attend();
    cuda::check(cudaEventRecord(end_, stream_), "cudaEventRecord");
    cuda::check(cudaEventSynchronize(end_), "cudaEventSynchronize");
    float milliseconds = 0;
    cuda::check(cudaEventElapsedTime(&milliseconds, begin_, end_), "cudaEventElapsedTime");
    return 1e-3 * static_cast<double>(milliseconds);
  }
  std::size_t items() const { return items_->size(); }

 private:
  std::int32_t qkv_columns() const { return (case_.heads + 2 * case_.kv_heads) * case_.head_size; }

  void make_batch() {
    const std::int32_t per_sequence = case_.blocks_per_sequence();
    std::vector<std::int32_t> query_indptr(static_cast<std::size_t>(case_.batch) + 1);
    std::iota(query_indptr.begin(), query_indptr.end(), 0);
    std::vector<std::int32_t> kv_indptr;
    for (std::int32_t i = 0; i <= case_.batch; ++i) {
      kv_indptr.push_back(i * per_sequence);
    }
    std::vector<std::int32_t> indices(static_cast<std::size_t>(case_.batch * per_sequence));
    std::iota(indices.begin(), indices.end(), 0);
    std::shuffle(indices.begin(), indices.end(), std::mt19937(1));
    const std::vector<std::int32_t> last(static_cast<std::size_t>(case_.batch),
                                         (case_.context - 1) % case_.block_size + 1);
    cuda::AttentionPlan plan;
    plan.build({query_indptr, kv_indptr, indices, last, {}, {}}, case_.block_size, case_.kv_heads,
               attribute(cudaDevAttrMultiProcessorCount));
    query_indptr_ = std::make_unique<DeviceArray<std::int32_t>>(query_indptr);
    kv_indptr_ = std::make_unique<DeviceArray<std::int32_t>>(kv_indptr);
    indices_ = std::make_unique<DeviceArray<std::int32_t>>(indices);
    items_ = std::make_unique<DeviceArray<cuda::DecodeItem>>(plan.decodes());
    merges_ = std::make_unique<DeviceArray<cuda::MergeItem>>(plan.merges());
    workspace_ = std::make_unique<DeviceArray<float>>(
        static_cast<std::size_t>(cuda::decode_workspace(plan.partials(), case_.heads, case_.head_size)));
  }

  void attend() {
    const cuda::AttentionQueries queries{qkv_.data(), qkv_columns(), out_.data(), case_.heads,
                                         1.0f / std::sqrt(static_cast<float>(case_.head_size))};
    const cuda::DecodeWork work{items_->data(), merges_->data(), static_cast<std::int32_t>(items_->size()),
                                static_cast<std::int32_t>(merges_->size()), workspace_->data()};
    std::byte* keys = pool_.data();
    const std::int64_t row_bytes = case_.head_size * static_cast<std::int64_t>(kernels::size_of(case_.dtype));
    if (case_.paged) {
      // A block's K and V side by side, as in the pool of one layer.
      const std::int64_t plane = std::int64_t{case_.kv_heads} * case_.block_size;
      cuda::PagedKv kv{keys,
                       keys + plane * row_bytes,
                       2 * plane * case_.head_size,
                       case_.block_size,
                       case_.kv_heads,
                       case_.head_size,
                       case_.dtype};
      cuda::DeviceBatch batch;
      batch.query_indptr = query_indptr_->data();
      batch.kv_indptr = kv_indptr_->data();
      batch.kv_indices = indices_->data();
      batch.sequences = case_.batch;
      batch.tokens = case_.batch;
      cuda::decode_attention(stream_, queries, kv, batch, work);
    } else {
      const cuda::ContiguousKv kv{
          keys,
          keys + std::int64_t{case_.batch} * case_.kv_heads * case_.context * row_bytes,
          case_.context,
          case_.kv_heads,
          case_.head_size,
          case_.dtype};
      cuda::contiguous_decode_attention(stream_, queries, kv, work);
    }
  }

  Case case_;
  DeviceArray<std::byte> pool_;
  DeviceArray<float> qkv_, out_;
  DeviceArray<std::byte> cold_;  ///< written to push the pool out of L2
  std::unique_ptr<DeviceArray<std::int32_t>> query_indptr_, kv_indptr_, indices_;
  std::unique_ptr<DeviceArray<cuda::DecodeItem>> items_;
  std::unique_ptr<DeviceArray<cuda::MergeItem>> merges_;
  std::unique_ptr<DeviceArray<float>> workspace_;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t begin_ = nullptr;
  cudaEvent_t end_ = nullptr;
};

void decode(benchmark::State& state, const Case& c, const char* program) {
  std::size_t free = 0;
  std::size_t total = 0;
  cuda::check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  if (static_cast<double>(c.pool_bytes()) > 0.9 * static_cast<double>(free)) {
    state.SkipWithError("does not fit the device's memory");
    return;
  }
  Served served(c);
  served.run();
  std::vector<double> times;
  for (auto _ : state) {
    times.push_back(served.run());
    state.SetIterationTime(times.back());
  }
  std::nth_element(times.begin(), times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2), times.end());
  const double median = times[times.size() / 2];
  const double speed = static_cast<double>(c.kv_bytes()) / median;
  state.counters["GB/s"] = speed * 1e-9;
  if (peak_bandwidth() > 0) {
    state.counters["of_peak"] = speed / peak_bandwidth();
  }
  state.counters["items"] = static_cast<double>(served.items());
  state.SetLabel(std::string(program) + " --benchmark_filter='^" + c.name() + "/'");
}

std::vector<Case> cases(bool smoke) {
  std::vector<Case> cases;
  const auto add = [&](Case c) {
    for (const bool paged : {true, false}) {
      c.paged = paged;
      cases.push_back(c);
    }
  };
  if (smoke) {
    add({.heads = 2, .kv_heads = 2, .head_size = 64, .batch = 2, .context = 128});
    add({.dtype = DType::bf16, .heads = 4, .kv_heads = 1, .batch = 1, .context = 300});
    return cases;
  }
  for (const std::int32_t kv_heads : {32, 8}) {  // LLaMA-7B and Llama-3-8B
    for (const std::int32_t batch : {1, 4, 16, 64, 256}) {
      for (const std::int32_t context : {128, 512, 2048, 8192, 32768}) {
        add({.kv_heads = kv_heads, .batch = batch, .context = context});
      }
    }
  }
  for (const std::int32_t head_size : {64, 80, 96, 256}) {
    add({.head_size = head_size, .batch = 16, .context = 2048});
    add({.dtype = DType::bf16, .kv_heads = 4, .head_size = head_size, .batch = 64, .context = 2048});
  }
  add({.dtype = DType::bf16, .batch = 16, .context = 2048});
  add({.dtype = DType::f32, .batch = 16, .context = 2048});
  for (const std::int32_t kv_heads : {32, 8}) {
    for (const std::int32_t block_size : {1, 2, 4, 8, 32, 64, 128, 256}) {
      cases.push_back({.kv_heads = kv_heads, .block_size = block_size, .batch = 16, .context = 2048});
    }
  }
  return cases;
}

int run(int argc, char** argv) {
#ifdef PAGELAB_EMULATED_RUNTIME
  bool smoke = true;
#else
  bool smoke = false;
#endif
  char** const last = std::remove_if(argv + 1, argv + argc, [&](const char* argument) {
    const bool is_smoke = std::strcmp(argument, "--smoke") == 0;
    smoke = smoke || is_smoke;
    return is_smoke;
  });
  argc = static_cast<int>(last - argv);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) {
    return 2;
  }
  for (const Case& c : cases(smoke)) {
    auto* bench = benchmark::RegisterBenchmark(
        c.name().c_str(), [c, argv](benchmark::State& state) { decode(state, c, argv[0]); });
    bench->UseManualTime()->Unit(benchmark::kMicrosecond);
    smoke ? bench->Iterations(1) : bench->MinTime(0.05);
  }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}

}  // namespace
}  // namespace pagelab::testing

int main(int argc, char** argv) {
  try {
    return pagelab::testing::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", argv[0], error.what());
    return 1;
  }
}
