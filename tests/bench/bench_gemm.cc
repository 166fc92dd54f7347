// The matrix product beside oneDNN with packed weights: bench_gemm [--benchmark_filter=...].
//
// Weights are cold: each call takes the next of enough copies to exceed the last-level cache, as the layers
// of a model do. Arguments: M, K, N. The counter FLOPS is the rate of arithmetic,
// weight_bytes the rate at which weights pass when each is read once per call. oneDNN takes its number of
// threads from OMP_NUM_THREADS, ours is 2. Its threads spin at barriers, so measure on an idle machine.
#include <benchmark/benchmark.h>

#include <dnnl.hpp>
#include <random>
#include <vector>

#include "kernels/cpu/gemm.h"

namespace {

using pagelab::kernels::DType;
using pagelab::kernels::HostTensor;
using pagelab::kernels::cpu::Gemm;
using pagelab::kernels::cpu::PackedMatrix;
using pagelab::kernels::cpu::ThreadPool;

/// More than the last-level cache of the machines in use.
constexpr std::int64_t kColdBytes = std::int64_t{160} << 20;

struct Shape {
  std::int64_t m, k, n;
  explicit Shape(const benchmark::State& state) : m(state.range(0)), k(state.range(1)), n(state.range(2)) {}

  std::int64_t copies(DType dtype) const {
    return 1 + kColdBytes / (k * n * static_cast<std::int64_t>(pagelab::kernels::size_of(dtype)));
  }
};

std::vector<float> random_values(std::int64_t count) {
  std::minstd_rand random;
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) {
    value = static_cast<float>(random() % 2048) / 1024.0f - 1.0f;
  }
  return values;
}

void report(benchmark::State& state, const Shape& shape, DType dtype) {
  const auto calls = static_cast<double>(state.iterations());
  const auto elements = static_cast<double>(shape.k * shape.n);
  state.counters["FLOPS"] =
      benchmark::Counter(2.0 * static_cast<double>(shape.m) * elements * calls, benchmark::Counter::kIsRate);
  state.counters["weight_bytes"] = benchmark::Counter(
      elements * static_cast<double>(pagelab::kernels::size_of(dtype)) * calls, benchmark::Counter::kIsRate);
}

void pagelab_gemm(benchmark::State& state, DType dtype, int threads) {
  const Shape shape(state);
  ThreadPool pool(threads);
  Gemm gemm(pool);
  std::vector<float> x = random_values(shape.m * shape.k);
  std::vector<float> out(static_cast<std::size_t>(shape.m * shape.n));
  std::vector<PackedMatrix> weights;
  {
    const std::vector<float> w = random_values(shape.k * shape.n);
    const HostTensor part{w.data(), DType::f32, shape.n, shape.k};
    for (std::int64_t i = 0; i < shape.copies(dtype); ++i) {
      weights.emplace_back(pool, std::span(&part, 1), dtype);
    }
  }
  const auto rows = static_cast<std::int32_t>(shape.m);
  std::size_t next = 0;
  for (auto _ : state) {
    gemm.run({x.data(), rows, static_cast<std::int32_t>(shape.k)}, weights[next], {},
             {out.data(), rows, static_cast<std::int32_t>(shape.n)});
    next = next + 1 == weights.size() ? 0 : next + 1;
  }
  report(state, shape, dtype);
}

/// oneDNN's inner product with weights in the layout that it asks for. Threads are OpenMP's
/// (OMP_NUM_THREADS).
void onednn_gemm(benchmark::State& state, DType dtype) {
  using dnnl::inner_product_forward;
  using dnnl::memory;
  const Shape shape(state);
  const auto type = dtype == DType::f32 ? memory::data_type::f32 : memory::data_type::bf16;
  dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  dnnl::stream stream(engine);
  const memory::desc x_desc({shape.m, shape.k}, type, memory::format_tag::ab);
  const memory::desc w_any({shape.n, shape.k}, type, memory::format_tag::any);
  const memory::desc out_desc({shape.m, shape.n}, memory::data_type::f32, memory::format_tag::ab);
  const inner_product_forward::desc desc(dnnl::prop_kind::forward_inference, x_desc, w_any, out_desc);
  const inner_product_forward::primitive_desc primitive_desc(desc, engine);
  const inner_product_forward product(primitive_desc);

  std::vector<float> w = random_values(shape.k * shape.n);
  memory w_plain({{shape.n, shape.k}, memory::data_type::f32, memory::format_tag::ab}, engine, w.data());
  std::vector<memory> weights;
  for (std::int64_t i = 0; i < shape.copies(dtype); ++i) {
    weights.emplace_back(primitive_desc.weights_desc(), engine);
    dnnl::reorder(w_plain, weights.back()).execute(stream, w_plain, weights.back());
  }
  memory x(x_desc, engine);
  memory out(out_desc, engine);
  std::size_t next = 0;
  for (auto _ : state) {
    product.execute(stream, {{DNNL_ARG_SRC, x}, {DNNL_ARG_WEIGHTS, weights[next]}, {DNNL_ARG_DST, out}});
    stream.wait();
    next = next + 1 == weights.size() ? 0 : next + 1;
  }
  report(state, shape, dtype);
}

constexpr int kThreads = 2;

void square(benchmark::internal::Benchmark* bench) {
  for (const int m : {1, 2, 3, 4, 5, 7, 8, 12, 16, 32, 64, 128, 512}) {
    bench->Args({m, 2048, 2048});
  }
}

/// The layers of a LLaMA of 110M parameters and of TinyLlama 1.1B.
void layers(benchmark::internal::Benchmark* bench) {
  using KN = std::pair<int, int>;
  for (const auto& [k, n] : {KN{768, 2304}, KN{768, 768}, KN{768, 4096}, KN{2048, 768}, KN{768, 32000},
                             KN{2048, 2560}, KN{2048, 11264}, KN{5632, 2048}, KN{2048, 32000}}) {
    for (const int m : {1, 8, 32, 64, 128}) {
      bench->Args({m, k, n});
    }
  }
}

void all(benchmark::internal::Benchmark* bench) {
  square(bench);
  layers(bench);
  bench->ArgNames({"M", "K", "N"})->UseRealTime()->MinTime(0.2);
}

BENCHMARK_CAPTURE(pagelab_gemm, bf16, DType::bf16, kThreads)->Apply(all);
BENCHMARK_CAPTURE(pagelab_gemm, f32, DType::f32, kThreads)->Apply(all);
BENCHMARK_CAPTURE(pagelab_gemm, f16, DType::f16, kThreads)->Apply(all);
BENCHMARK_CAPTURE(pagelab_gemm, bf16_one_thread, DType::bf16, 1)->Apply(square);
BENCHMARK_CAPTURE(onednn_gemm, f32, DType::f32)->Apply(all);
BENCHMARK_CAPTURE(onednn_gemm, bf16, DType::bf16)->Apply(all);

}  // namespace
