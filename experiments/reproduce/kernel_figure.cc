#include "experiments/reproduce/kernel_figure.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <thread>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/config.h"
#include "core/error.h"
#include "core/random.h"
#include "experiments/build_info.h"
#include "experiments/device_factory.h"
#include "experiments/output_file.h"
#include "kernels/cpu/cpu_ops.h"

namespace pagelab {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::int64_t kv_bytes = std::int64_t{512} << 20;  ///< of each layout; caches hold less
constexpr int calls = 200;                                  ///< timed, of each layout

/// What one call of the kernel works on.
struct Call {
  std::int32_t batch;
  std::int32_t context;
  std::int32_t block_size;
  bool scattered;
};

int threads_of(const KernelFigure& figure) {
  return figure.threads > 0 ? figure.threads
                            : static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
}

/// Sequences of equal context in a pool of their own, ready to decode one token each.
class KernelProbe {
 public:
  KernelProbe(const KernelFigure& figure, const Call& call)
      : figure_(figure), ops_({.threads = threads_of(figure)}) {
    const std::int32_t blocks = (call.context + call.block_size - 1) / call.block_size;
    kernels::KvShape shape{.layers = 1,
                           .kv_heads = figure.heads,
                           .head_size = figure.head_size,
                           .block_size = call.block_size,
                           .dtype = kernels::DType::bf16,
                           .device_blocks = call.batch * blocks,
                           .host_blocks = 0};
    shape.layers = static_cast<std::int32_t>(
        std::clamp<std::int64_t>(kv_bytes / (shape.block_bytes() * shape.device_blocks), 2, 64));
    layers_ = shape.layers;
    ops_.allocate_kv(shape);
    indices_.resize(static_cast<std::size_t>(shape.device_blocks));
    std::iota(indices_.begin(), indices_.end(), 0);
    if (call.scattered) {
      scatter();
    }
    fill(call, blocks);
    for (std::int32_t i = 0; i <= call.batch; ++i) {
      query_indptr_.push_back(i);
      kv_indptr_.push_back(i * blocks);
    }
    last_block_len_.assign(static_cast<std::size_t>(call.batch),
                           call.context - (blocks - 1) * call.block_size);
    positions_.assign(static_cast<std::size_t>(call.batch), call.context - 1);
  }

  /// Seconds of attention of one layer; the layers take turns.
  double time_call() {
    const auto batch = static_cast<std::int32_t>(positions_.size());
    const kernels::AttentionBatch step{query_indptr_, kv_indptr_, indices_, last_block_len_, positions_, {}};
    ops_.begin_step();
    const kernels::Tensor qkv = filled(batch, 3 * figure_.heads * figure_.head_size);
    const kernels::Tensor out = ops_.scratch(batch, figure_.heads * figure_.head_size);
    const float scale = 1.0F / std::sqrt(static_cast<float>(figure_.head_size));
    layer_ = (layer_ + 1) % layers_;
    const auto start = std::chrono::steady_clock::now();
    ops_.attention(layer_, qkv, figure_.heads, scale, step, out);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

 private:
  void scatter() {
    RandomStream random(1, "kernel figure");
    for (std::size_t i = indices_.size(); i > 1; --i) {
      std::swap(indices_[i - 1], indices_[random.below(i)]);
    }
  }
  kernels::Tensor filled(std::int32_t rows, std::int32_t cols) {
    const kernels::Tensor tensor = ops_.scratch(rows, cols);
    std::fill_n(tensor.data, static_cast<std::size_t>(rows) * static_cast<std::size_t>(cols), 0.01F);
    return tensor;
  }
  /// Writes K and V of all positions, a sequence at a time.
  void fill(const Call& call, std::int32_t blocks) {
    const std::vector<std::int32_t> chunk = {0, call.context};
    const std::vector<std::int32_t> table = {0, blocks};
    std::vector<std::int32_t> positions(static_cast<std::size_t>(call.context));
    std::iota(positions.begin(), positions.end(), 0);
    for (std::int32_t sequence = 0; sequence < call.batch; ++sequence) {
      std::vector<std::int32_t> slots;
      for (const std::int32_t p : positions) {
        const std::int32_t entry = sequence * blocks + p / call.block_size;
        const std::int32_t block = indices_[static_cast<std::size_t>(entry)];
        slots.push_back(block * call.block_size + p % call.block_size);
      }
      ops_.begin_step();
      const kernels::Tensor qkv = filled(call.context, 3 * figure_.heads * figure_.head_size);
      const kernels::AttentionBatch batch{chunk, table, {}, {}, positions, slots};
      for (std::int32_t layer = 0; layer < layers_; ++layer) {
        ops_.write_kv(layer, qkv, figure_.heads, batch);
      }
    }
  }

  const KernelFigure& figure_;
  kernels::cpu::CpuOps ops_;
  std::int32_t layers_ = 0;
  std::int32_t layer_ = 0;
  std::vector<std::int32_t> indices_, query_indptr_, kv_indptr_, last_block_len_, positions_;
};

/// Quartiles in microseconds: [first, median, third].
Json quartiles_us(std::vector<double>& seconds) {
  std::ranges::sort(seconds);
  const auto at = [&seconds](std::size_t quarter) {
    return 1e6 * seconds[quarter * (seconds.size() - 1) / 4];
  };
  return {at(1), at(2), at(3)};
}

Json measure(const KernelFigure& figure) {
  Json results = Json::array();
  for (const std::int64_t batch : figure.batches) {
    for (const std::int64_t context : figure.contexts) {
      Call call{static_cast<std::int32_t>(batch), static_cast<std::int32_t>(context), figure.block_size,
                true};
      KernelProbe paged(figure, call);
      call.block_size = call.context;
      call.scattered = false;
      KernelProbe contiguous(figure, call);
      std::vector<double> paged_s, contiguous_s;
      for (int i = -calls / 10; i < calls; ++i) {
        const double a = paged.time_call();
        const double b = contiguous.time_call();
        if (i >= 0) {
          paged_s.push_back(a);
          contiguous_s.push_back(b);
        }
      }
      results.push_back({{"batch", batch},
                         {"context", context},
                         {"paged_us", quartiles_us(paged_s)},
                         {"contiguous_us", quartiles_us(contiguous_s)}});
    }
  }
  return results;
}

/// What a measurement depends on but for the machine.
Json key_of(const KernelFigure& figure) {
  return {{"commit", build_commit()},      {"simd", simd_target()},           {"threads", threads_of(figure)},
          {"contexts", figure.contexts},   {"batches", figure.batches},       {"heads", figure.heads},
          {"head_size", figure.head_size}, {"block_size", figure.block_size}, {"quartiles_of_calls", calls}};
}

Json kept_or_measured(const KernelFigure& figure, const std::filesystem::path& folder) {
  const std::filesystem::path file = folder / "kernel.json";
  const Json key = key_of(figure);
  if (std::filesystem::exists(file)) {
    Json kept = Json::parse(read_text_file(file), nullptr, false);
    if (kept.is_object() && kept.value("key", Json()) == key) {
      return kept["results"];
    }
  }
  Json results = measure(figure);
  std::filesystem::create_directories(folder);
  write_file(file, Json{{"key", key}, {"results", results}}.dump(2) + "\n");
  return results;
}

}  // namespace

std::vector<FigureCurve> kernel_curves(const Figure& figure, const std::filesystem::path& folder) {
  std::vector<FigureCurve> curves = figure.empty_curves();
  const auto put = [&](const std::string& name, const Json& result, const char* layout) {
    const std::string series = fmt::format("{}_bs{}", name, result["batch"].get<int>());
    const auto curve = std::ranges::find(curves, series, &FigureCurve::name);
    const auto quartiles = result[layout].get<std::array<double, 3>>();
    curve->at(figure_x(result["context"].get<double>())).ours = {quartiles[1], quartiles[0], quartiles[2]};
  };
  for (const Json& result : kept_or_measured(figure.kernel, folder)) {
    put(figure.kernel.paged, result, "paged_us");
    put(figure.kernel.contiguous, result, "contiguous_us");
  }
  return curves;
}

}  // namespace pagelab
