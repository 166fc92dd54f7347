#include "experiments/calibrate/calibrate_command.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <thread>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>

#include "core/error.h"
#include "core/parameters.h"
#include "experiments/build_info.h"
#include "experiments/calibrate/calibration.h"
#include "experiments/device_factory.h"
#include "experiments/output_file.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cuda/ops/make_cuda_ops.h"
#include "models/shape.h"

namespace pagelab {

namespace {

constexpr double gib = 1024.0 * 1024.0 * 1024.0;

/// A device that can be measured, and what is said of it.
struct Measured {
  Backend backend;
  std::string text;  ///< "cpu, AVX2, 2 threads"
  double memory_gib = 0;
};

Measured on_cpu(const CalibrateOptions& options) {
  const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  const int threads = options.threads > 0 ? options.threads : cores;
  const auto make = [=, dtype = options.dtype] {
    return std::make_unique<kernels::cpu::CpuOps>(
        kernels::cpu::CpuOptions{.threads = threads, .weight_dtype = dtype});
  };
  return {.backend = {.make = make, .queues = false},
          .text = fmt::format("cpu, {}, {} thread{}", simd_target(), threads, threads == 1 ? "" : "s"),
          .memory_gib = static_cast<double>(available_memory().value()) / gib};
}

Measured on_cuda(const CalibrateOptions& options, kernels::CudaDevice (*find)(),
                 std::unique_ptr<kernels::Ops> (*make_ops)(const kernels::CudaOptions&)) {
  const kernels::CudaDevice found = find();
  const auto make = [=, dtype = options.dtype] { return make_ops({.weight_dtype = dtype}); };
  return {.backend = {.make = make, .queues = true},
          .text = fmt::format("{}, {}", options.device, found.name),
          .memory_gib = static_cast<double>(found.free_bytes) / gib};
}

Measured on_real_gpu([[maybe_unused]] const CalibrateOptions& options) {
#ifdef PAGELAB_HAS_CUDA
  return on_cuda(options, kernels::cuda::find_device, kernels::cuda::make_ops);
#else
  throw InputError(
      "device 'cuda' cannot be measured: this pagelab was built without CUDA; build it where CUDA's toolkit "
      "and a "
      "GPU are (cmake -DPAGELAB_CUDA=ON)");
#endif
}

Measured on_emulated_gpu(const CalibrateOptions& options) {
  return on_cuda(options, kernels::cuda_emulated::find_device, kernels::cuda_emulated::make_ops);
}

struct MeasuredKind {
  const char* name;
  Measured (*make)(const CalibrateOptions& options);
};
constexpr std::array measured_kinds = {MeasuredKind{"cpu", on_cpu}, MeasuredKind{"cuda", on_real_gpu},
                                       MeasuredKind{"cuda-emulated", on_emulated_gpu}};

Measured device_of(const CalibrateOptions& options) {
  std::vector<std::string> names;
  for (const MeasuredKind& kind : measured_kinds) {
    if (options.device == kind.name) {
      return kind.make(options);
    }
    names.emplace_back(kind.name);
  }
  throw InputError("--device " + unknown_text(options.device, "devices to measure", names));
}

MeasureOptions measure_options(const CalibrateOptions& options) {
  MeasureOptions measure{.kv_dtype = options.kv_dtype,
                         .block_size = options.block_size,
                         .rounds = options.quick ? 2 : 5,
                         .quick = options.quick};
  if (options.rounds > 0) {
    measure.rounds = options.rounds;
  }
  if (options.quick) {
    measure.kv_bytes = std::int64_t{32} << 20;
    measure.most_rows = 256;
  }
  measure.log = [](const std::string& text) { spdlog::info("{}", text); };
  return measure;
}

/// What is measured of a model must fit beside its weights.
void require_memory(const ModelShape& shape, const CalibrateOptions& options, double memory_gib) {
  const double needed =
      static_cast<double>(shape.weight_bytes(options.dtype).value() + measure_options(options).kv_bytes) /
      gib;
  if (needed > memory_gib) {
    throw InputError(
        fmt::format("{} cannot be measured: its weights ({}) and KV blocks need {:.2f} GiB, there are {:.2f}",
                    shape.name, kernels::name_of(options.dtype), needed, memory_gib));
  }
}

Measurements measure_all(const CalibrateOptions& options, const std::vector<ModelShape>& shapes,
                         const std::vector<std::string>& models, const Measured& device) {
  const MeasureOptions measure = measure_options(options);
  const Backend& backend = device.backend;
  Measurements measured{.weight_dtype = options.dtype,
                        .kv_dtype = options.kv_dtype,
                        .block_size = options.block_size,
                        .smallest_product_s = measure_smallest_product(backend, measure)};
  for (const std::string& model : models) {
    measured.models.push_back(measure_model(model, backend, measure));
  }
  measured.attention_by_block_size = measure_block_sizes(shapes.front(), backend, measure);
  measured.moves = measure_moves(shapes.front(), backend, measure);
  return measured;
}

const char* kind_of(const StepTimes& step) {
  const auto decodes =
      std::ranges::count_if(step.chunks, [](const ChunkShape& chunk) { return chunk.count == 1; });
  return decodes == 0                                                 ? "prompts"
         : decodes == static_cast<std::ptrdiff_t>(step.chunks.size()) ? "decodes"
                                                                      : "mixed";
}

/// "MODEL KIND: N steps, predicted within x % (median), y % (worst)" for each model and kind of step.
std::string errors_text(const std::vector<StepError>& errors) {
  std::map<std::pair<std::string, std::string>, std::vector<double>> found;
  for (const StepError& error : errors) {
    spdlog::debug("{} {}: {} chunks, measured {:.6f} s, predicted {:.6f} s ({:+.1f} %)", error.model,
                  kind_of(error.measured), error.measured.chunks.size(), error.measured.seconds,
                  error.predicted_s, 100 * error.relative());
    found[{error.model, kind_of(error.measured)}].push_back(std::abs(error.relative()));
  }
  std::string text;
  for (const auto& [key, values] : found) {
    text += fmt::format("{:<16} {:<8} {:3} steps: predicted within {:4.1f} % (median), {:4.1f} % (worst)\n",
                        key.first, key.second, values.size(), 100 * median(values),
                        100 * std::ranges::max(values));
  }
  return text;
}

}  // namespace

std::string calibrate(const CalibrateOptions& options) {
  const std::vector<std::string> models =
      options.models.empty() ? std::vector<std::string>{"opt-125m"} : options.models;
  std::vector<ModelShape> shapes;
  std::vector<std::string> names;
  for (const std::string& model : models) {
    shapes.push_back(resolve_shape(model));
    names.push_back(shapes.back().name);
  }
  const Measured device = device_of(options);
  for (const ModelShape& shape : shapes) {
    require_memory(shape, options, device.memory_gib);
  }
  OutputFile file(options.out);
  const Measurements measured = measure_all(options, shapes, models, device);
  const DeviceDescription description = describe(
      measured,
      {.name = options.out.stem().string(),
       .source = fmt::format("pagelab calibrate {}: {}; {} weights, {} KV in blocks of {}; {}",
                             build_version(), device.text, kernels::name_of(options.dtype),
                             kernels::name_of(options.kv_dtype), options.block_size, fmt::join(names, ", ")),
       .memory_gib = device.memory_gib});
  file.write(device_description_toml(description));
  file.complete();
  return errors_text(step_errors(measured, description));
}

}  // namespace pagelab
