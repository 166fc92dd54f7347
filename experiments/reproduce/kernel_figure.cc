#include "experiments/reproduce/kernel_figure.h"

#include <algorithm>
#include <array>
#include <functional>
#include <memory>
#include <stdexcept>
#include <thread>

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <nlohmann/json.hpp>

#include "core/config.h"
#include "core/error.h"
#include "experiments/build_info.h"
#include "experiments/device_factory.h"
#include "experiments/output_file.h"
#include "experiments/reproduce/kernel_probe.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cuda/ops/make_cuda_ops.h"

namespace pagelab {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::int64_t kv_bytes = std::int64_t{512} << 20;  ///< of each layout
constexpr int calls = 200;                                  ///< timed, of each layout

/// Whose kernels are measured.
struct MeasuredDevice {
  std::string name;    ///< of a GPU; empty for the CPU
  std::string series;  ///< appended to the names of its series
  std::function<std::unique_ptr<kernels::Ops>()> make_ops;
  kernels::DType dtype;  ///< of K and V
};

int threads_of(const KernelFigure& figure) {
  return figure.threads > 0 ? figure.threads
                            : static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
}

/// The CPU, and the first GPU if one answers.
std::vector<MeasuredDevice> devices(const KernelFigure& figure) {
  std::vector<MeasuredDevice> found;
  const kernels::cpu::CpuOptions cpu{.threads = threads_of(figure)};
  found.push_back(
      {"", "", [cpu] { return std::make_unique<kernels::cpu::CpuOps>(cpu); }, kernels::DType::bf16});
#ifdef PAGELAB_HAS_CUDA
  try {
    found.push_back({kernels::cuda::find_device().name, "_cuda", [] { return kernels::cuda::make_ops({}); },
                     kernels::DType::f16});
  } catch (const std::runtime_error& none) {
    spdlog::info("no GPU is measured: {}", none.what());
  }
#endif
  return found;
}

/// Quartiles in microseconds: [first, median, third].
Json quartiles_us(std::vector<double>& seconds) {
  std::ranges::sort(seconds);
  const auto at = [&seconds](std::size_t quarter) {
    return 1e6 * seconds[quarter * (seconds.size() - 1) / 4];
  };
  return {at(1), at(2), at(3)};
}

Json measure(const KernelFigure& figure, const MeasuredDevice& device) {
  Json results = Json::array();
  for (const std::int64_t batch : figure.batches) {
    for (const std::int64_t context : figure.contexts) {
      KernelCall call{.batch = static_cast<std::int32_t>(batch),
                      .context = static_cast<std::int32_t>(context),
                      .heads = figure.heads,
                      .head_size = figure.head_size,
                      .block_size = figure.block_size,
                      .dtype = device.dtype,
                      .scattered = true,
                      .kv_bytes = kv_bytes};
      KernelProbe paged(device.make_ops(), call);
      call.block_size = call.context;
      call.scattered = false;
      KernelProbe contiguous(device.make_ops(), call);
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
Json key_of(const KernelFigure& figure, const MeasuredDevice& device) {
  return {{"commit", build_commit()},   {"simd", simd_target()},         {"threads", threads_of(figure)},
          {"gpu", device.name},         {"contexts", figure.contexts},   {"batches", figure.batches},
          {"heads", figure.heads},      {"head_size", figure.head_size}, {"block_size", figure.block_size},
          {"quartiles_of_calls", calls}};
}

Json kept_or_measured(const KernelFigure& figure, const MeasuredDevice& device,
                      const std::filesystem::path& folder) {
  const std::filesystem::path file = folder / fmt::format("kernel{}.json", device.series);
  const Json key = key_of(figure, device);
  if (std::filesystem::exists(file)) {
    Json kept = Json::parse(read_text_file(file), nullptr, false);
    if (kept.is_object() && kept.value("key", Json()) == key) {
      return kept["results"];
    }
  }
  Json results = measure(figure, device);
  std::filesystem::create_directories(folder);
  write_file(file, Json{{"key", key}, {"results", results}}.dump(2) + "\n");
  return results;
}

/// Adds to the curves of a device what was measured there.
void put(std::vector<FigureCurve>& curves, const MeasuredDevice& device, const KernelFigure& figure,
         const Json& results) {
  for (const Json& result : results) {
    for (const bool paged : {true, false}) {
      const std::string series = fmt::format("{}_bs{}{}", paged ? figure.paged : figure.contiguous,
                                             result["batch"].get<int>(), device.series);
      const auto quartiles = result[paged ? "paged_us" : "contiguous_us"].get<std::array<double, 3>>();
      std::ranges::find(curves, series, &FigureCurve::name)
          ->at(figure_x(result["context"].get<double>()))
          .ours = {quartiles[1], quartiles[0], quartiles[2]};
    }
  }
}

}  // namespace

std::vector<FigureCurve> kernel_curves(const Figure& figure, const std::filesystem::path& folder) {
  std::vector<FigureCurve> curves;
  for (const MeasuredDevice& device : devices(figure.kernel)) {
    for (FigureCurve curve : figure.empty_curves()) {
      curve.name += device.series;
      curve.label += device.name.empty() ? "" : " on " + device.name;
      curves.push_back(std::move(curve));
    }
    put(curves, device, figure.kernel, kept_or_measured(figure.kernel, device, folder));
  }
  return curves;
}

}  // namespace pagelab
