// Paged attention: how close decoding comes to the memory's bandwidth and what paging costs, and how close
// prefill comes to the multipliers' peak. In every decode iteration three things are timed one after the
// other over KV larger than the caches: plain vector loads of the pool, attention over KV that lies in one
// run (blocks of a whole partition, in order), and attention over a pool of small blocks in random order.
// Speeds are those of the fastest iteration, since whatever else runs on the machine only adds time;
// paged/run_time is a median.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <numeric>
#include <random>
#include <vector>

#include "kernels/cpu/kv_cache.h"
#include "kernels/cpu/paged_attention.h"

namespace pagelab::kernels {
namespace {

using cpu::KvCache;
using cpu::PagedAttention;
using cpu::ThreadPool;

constexpr std::int64_t kPoolBytes = std::int64_t{768} << 20;
constexpr std::int32_t kSequences = 32;
constexpr std::int32_t kRunBlock = 256;

template <class Work>
double seconds_of(Work&& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double fastest(const std::vector<double>& times) {
  return *std::min_element(times.begin(), times.end());
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2),
                   values.end());
  return values[values.size() / 2];
}

/// Reads `bytes` with plain loads, split over the threads.
void load_all(ThreadPool& pool, const std::byte* data, std::size_t bytes) {
  constexpr std::size_t kPiece = std::size_t{1} << 20;
  pool.for_each(static_cast<std::int64_t>(bytes / kPiece), [&](std::int64_t piece, int) {
    const auto* words =
        reinterpret_cast<const std::uint64_t*>(data + static_cast<std::size_t>(piece) * kPiece);
    std::uint64_t sums[16] = {};
    for (std::size_t i = 0; i < kPiece / 8; i += 16) {
      for (std::size_t j = 0; j < 16; ++j) {
        sums[j] |= words[i + j];
      }
    }
    benchmark::DoNotOptimize(sums);
  });
}

/// Sequences of equal context in one cache, with the arrays of a step.
struct Served {
  Served(KvShape shape, std::int32_t heads_, std::int32_t sequences, std::int32_t context,
         std::int32_t tokens, bool shuffled)
      : heads(heads_), cache(with_blocks(shape, sequences, context)) {
    const std::int32_t per_sequence = context / shape.block_size;
    std::memset(cache.block(KvCache::Tier::device, 0), 0x3c,
                cache.block_bytes() * static_cast<std::size_t>(cache.shape().device_blocks));
    indices.resize(static_cast<std::size_t>(cache.shape().device_blocks));
    std::iota(indices.begin(), indices.end(), 0);
    if (shuffled) {
      std::shuffle(indices.begin(), indices.end(), std::mt19937(1));
    }
    for (std::int32_t i = 0; i <= sequences; ++i) {
      query_indptr.push_back(i * tokens);
      kv_indptr.push_back(i * per_sequence);
    }
    last_block_len.assign(static_cast<std::size_t>(sequences), shape.block_size);
    for (std::int32_t i = 0; i < sequences * tokens; ++i) {
      positions.push_back(context - tokens + i % tokens);
    }
    const std::int32_t width = heads * shape.head_size;
    q.assign(static_cast<std::size_t>(sequences * tokens * width), 0.01f);
    out.assign(q.size(), 0.0f);
  }

  static KvShape with_blocks(KvShape shape, std::int32_t sequences, std::int32_t context) {
    shape.device_blocks = sequences * (context / shape.block_size);
    return shape;
  }

  double run(PagedAttention& attention, std::int32_t layer = 0) {
    const auto rows = static_cast<std::int32_t>(positions.size());
    const std::int32_t width = heads * cache.shape().head_size;
    const AttentionBatch batch{query_indptr, kv_indptr, indices, last_block_len, positions, {}};
    return seconds_of([&] {
      attention.run(cache, layer, {q.data(), rows, width}, heads,
                    1.0f / std::sqrt(static_cast<float>(cache.shape().head_size)), batch,
                    {out.data(), rows, width});
    });
  }

  std::int32_t heads;
  KvCache cache;
  std::vector<std::int32_t> query_indptr, kv_indptr, indices, last_block_len, positions;
  std::vector<float> q, out;
};

void decode(benchmark::State& state, DType dtype) {
  const auto head_size = static_cast<std::int32_t>(state.range(0));
  const auto group = static_cast<std::int32_t>(state.range(1));
  const auto block_size = static_cast<std::int32_t>(state.range(2));
  const auto threads = static_cast<int>(state.range(3));
  constexpr std::int32_t kHeads = 32;
  KvShape shape{.layers = 1,
                .kv_heads = kHeads / group,
                .head_size = head_size,
                .block_size = block_size,
                .dtype = dtype};
  const std::int64_t token_bytes = shape.block_bytes() / block_size;
  const auto context =
      static_cast<std::int32_t>(kPoolBytes / token_bytes / kSequences / kRunBlock * kRunBlock);
  ThreadPool pool(threads);
  PagedAttention attention(pool);
  Served paged(shape, kHeads, kSequences, context / block_size * block_size, 1, true);
  shape.block_size = kRunBlock;
  Served run(shape, kHeads, kSequences, context, 1, false);
  const std::size_t bytes =
      paged.cache.block_bytes() * static_cast<std::size_t>(paged.cache.shape().device_blocks);
  std::vector<double> load_times, run_times, paged_times, overheads;
  for (auto _ : state) {
    load_times.push_back(
        seconds_of([&] { load_all(pool, paged.cache.block(KvCache::Tier::device, 0), bytes); }));
    run_times.push_back(run.run(attention));
    paged_times.push_back(paged.run(attention));
    overheads.push_back(paged_times.back() / run_times.back());
    state.SetIterationTime(paged_times.back());
  }
  const auto speed = [&](const std::vector<double>& times) {
    return static_cast<double>(bytes) / fastest(times) * 1e-9;
  };
  state.counters["load_GB/s"] = speed(load_times);
  state.counters["run_GB/s"] = speed(run_times);
  state.counters["paged_GB/s"] = speed(paged_times);
  state.counters["paged/load"] = speed(paged_times) / speed(load_times);
  state.counters["paged/run_time"] = median(overheads);
}

void decode_args(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"head", "group", "block", "threads"})
      ->UseManualTime()
      ->Iterations(9)
      ->Unit(benchmark::kMillisecond);
  for (const int threads : {1, 2}) {
    for (const int head : {64, 128}) {
      for (const int group : {1, 4, 8}) {
        bench->Args({head, group, 16, threads});
      }
    }
  }
  for (const int block : {1, 2, 4, 8, 32, 64, 128, 256}) {
    bench->Args({128, 1, block, 2});
  }
}
BENCHMARK_CAPTURE(decode, bf16, DType::bf16)->Apply(decode_args);
BENCHMARK_CAPTURE(decode, f32, DType::f32)->Apply(decode_args);

void prefill(benchmark::State& state, DType dtype) {
  const auto head_size = static_cast<std::int32_t>(state.range(0));
  const auto group = static_cast<std::int32_t>(state.range(1));
  const auto tokens = static_cast<std::int32_t>(state.range(2));
  const auto prefix = static_cast<std::int32_t>(state.range(3));
  const auto threads = static_cast<int>(state.range(4));
  constexpr std::int32_t kHeads = 16;
  const KvShape shape{
      .layers = 1, .kv_heads = kHeads / group, .head_size = head_size, .block_size = 16, .dtype = dtype};
  ThreadPool pool(threads);
  PagedAttention attention(pool);
  Served served(shape, kHeads, 1, prefix + tokens, tokens, true);
  std::vector<double> times;
  for (auto _ : state) {
    times.push_back(served.run(attention));
    state.SetIterationTime(times.back());
  }
  const double seen = (prefix + 1 + prefix + tokens) / 2.0 * tokens;
  state.counters["GFLOP/s"] = 4.0 * head_size * kHeads * seen / fastest(times) * 1e-9;
}

void prefill_args(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"head", "group", "chunk", "prefix", "threads"})
      ->UseManualTime()
      ->Unit(benchmark::kMicrosecond);
  for (const int threads : {1, 2}) {
    for (const int head : {64, 128}) {
      bench->Args({head, 1, 128, 0, threads});
      bench->Args({head, 1, 512, 0, threads});
      bench->Args({head, 1, 128, 2048, threads});
      bench->Args({head, 8, 512, 0, threads});
    }
  }
}
BENCHMARK_CAPTURE(prefill, bf16, DType::bf16)->Apply(prefill_args);
BENCHMARK_CAPTURE(prefill, f32, DType::f32)->Apply(prefill_args);

}  // namespace
}  // namespace pagelab::kernels

BENCHMARK_MAIN();
