#include "experiments/device_factory.h"

#include <hwy/targets.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <thread>

#include <fmt/format.h>

#include "core/error.h"
#include "kernels/cpu/cpu_ops.h"
#include "models/checkpoint.h"
#include "models/model.h"

namespace pagelab {

namespace {

constexpr std::int64_t unlimited = std::numeric_limits<std::int64_t>::max();

/// The number after `key` in a file of lines "key number ..."; -1 if there is none.
std::int64_t number_in(const char* file, const std::string& key) {
  std::ifstream in(file);
  for (std::string word; in >> word; in.ignore(std::numeric_limits<std::streamsize>::max(), '\n')) {
    std::int64_t number = 0;
    if (word == key && in >> number) {
      return number;
    }
  }
  return -1;
}

std::int64_t number_alone_in(const char* file) {
  std::ifstream in(file);
  std::int64_t number = 0;
  return in >> number ? number : -1;
}

std::int64_t control_group_allows() {
  const std::int64_t limit = number_alone_in("/sys/fs/cgroup/memory.max");  // "max" is no number
  const std::int64_t used = number_in("/sys/fs/cgroup/memory.stat", "anon");
  return limit < 0 || used < 0 ? unlimited : std::max<std::int64_t>(limit - used, 0);
}

std::string gigabytes(Bytes bytes) {
  return fmt::format("{:.2f} GB", 1e-9 * static_cast<double>(bytes.value()));
}

void require_memory(const ModelShape& shape, kernels::DType dtype, const kernels::KvShape& kv) {
  const Bytes weights = shape.weight_bytes(dtype);
  const Bytes device_pool = kv.device_blocks * Bytes(kv.block_bytes());
  const Bytes host_pool = kv.host_blocks * Bytes(kv.block_bytes());
  const Bytes available = available_memory();
  if (weights + device_pool + host_pool > available) {
    throw InputError(
        fmt::format("{} does not fit into memory: weights ({}) {}, {} device blocks {}, {} host blocks {}, "
                    "together {}; there are "
                    "{} available",
                    shape.name, kernels::name_of(dtype), gigabytes(weights), kv.device_blocks,
                    gigabytes(device_pool), kv.host_blocks, gigabytes(host_pool),
                    gigabytes(weights + device_pool + host_pool), gigabytes(available)));
  }
}

/// The type in which most of a checkpoint is stored.
kernels::DType checkpoint_dtype(const std::string& folder) {
  const Checkpoint checkpoint{std::filesystem::path(folder)};
  std::map<std::string_view, std::int64_t> bytes;
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    bytes[tensor.entry->dtype] += tensor.entry->size;
  }
  const auto most = std::ranges::max_element(bytes, {}, [](const auto& entry) { return entry.second; });
  const std::string_view name = most == bytes.end() ? "F32" : most->first;
  return name == "BF16" ? kernels::DType::bf16 : name == "F16" ? kernels::DType::f16 : kernels::DType::f32;
}

/// The instruction set that the kernels run with: the best of those compiled in and supported.
std::string simd_target() {
  const auto targets = static_cast<std::int64_t>(hwy::SupportedTargets()) & std::int64_t{HWY_TARGETS};
  return hwy::TargetName(targets & -targets);
}

BuiltDevice make_cpu(const ModelChoice& model, const DeviceChoice& device, std::uint64_t seed) {
  const ModelShape shape = resolve_shape(model.location);
  const bool random = find_shape(model.location) != nullptr;
  const kernels::DType dtype = model.dtype ? *model.dtype
                               : random    ? kernels::DType::bf16
                                           : checkpoint_dtype(model.location);
  const KvOptions kv{.block_size = static_cast<std::int32_t>(device.block_size.value()),
                     .dtype = device.kv_dtype,
                     .device_blocks = static_cast<std::int32_t>(device.device_blocks.value()),
                     .host_blocks = static_cast<std::int32_t>(device.host_blocks.value())};
  require_memory(shape, dtype, kv_shape(shape, kv));
  const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  auto ops = std::make_unique<kernels::cpu::CpuOps>(kernels::cpu::CpuOptions{
      .threads = device.threads > 0 ? device.threads : cores, .weight_dtype = dtype});
  auto weights = load_model(model.location, seed, *ops);

  BuiltDevice built;
  auto made = std::make_unique<ModelDevice>(std::move(ops), std::move(weights), kv);
  built.model_device = made.get();
  built.vocabulary = shape.vocab;
  built.provenance = {
      {"device", "cpu"},
      {"simd", simd_target()},
      {"model", random ? shape.name : std::filesystem::path(model.location).filename().string()},
      {"weights", random ? "random" : "checkpoint"},
      {"parameters", shape.parameters()},
      {"dtype", kernels::name_of(dtype)},
      {"kv_dtype", kernels::name_of(device.kv_dtype)},
      {"block_size", device.block_size.value()},
      {"block_bytes", made->capacity().block_bytes.value()},
      {"device_blocks", device.device_blocks.value()},
      {"host_blocks", device.host_blocks.value()}};
  built.device = std::move(made);
  return built;
}

constexpr std::array kinds = {DeviceKind{"cpu", make_cpu}};

}  // namespace

std::span<const DeviceKind> device_kinds() {
  return kinds;
}

BuiltDevice make_device(const ModelChoice& model, const DeviceChoice& device, std::uint64_t seed) {
  std::vector<std::string> names;
  for (const DeviceKind& kind : kinds) {
    if (kind.name == device.kind) {
      return kind.make(model, device, seed);
    }
    names.emplace_back(kind.name);
  }
  throw InputError("device " + unknown_text(device.kind, "kinds", names));
}

Bytes available_memory() {
  const std::int64_t kilobytes = number_in("/proc/meminfo", "MemAvailable:");
  const std::int64_t machine = kilobytes < 0 ? unlimited : kilobytes * 1024;
  return Bytes(std::min(machine, control_group_allows()));
}

}  // namespace pagelab
