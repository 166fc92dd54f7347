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
#include "kernels/cuda/ops/make_cuda_ops.h"
#include "models/check_device.h"
#include "models/checkpoint.h"
#include "models/device_description.h"
#include "models/memory_plan.h"
#include "models/model.h"

namespace pagelab {

namespace {

constexpr std::int64_t unlimited = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t most_blocks = std::numeric_limits<BlockId::rep>::max();

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

/// What is the same on every device: the model, its types and the pools that it is to have.
struct Setup {
  const ModelChoice& model;
  const DeviceChoice& device;
  std::uint64_t seed;
  ModelShape shape;
  bool random;  ///< weights
  kernels::DType dtype;
  KvOptions kv;

  Bytes weights() const { return shape.weight_bytes(dtype); }
  Bytes block() const { return Bytes(kv_shape(shape, kv).block_bytes()); }
  Bytes device_pool() const { return kv.device_blocks * block(); }
  Bytes host_pool() const { return kv.host_blocks * block(); }
};

Setup setup(const ModelChoice& model, const DeviceChoice& device, std::uint64_t seed) {
  const bool random = find_shape(model.location) != nullptr;
  return {.model = model,
          .device = device,
          .seed = seed,
          .shape = resolve_shape(model.location),
          .random = random,
          .dtype = model.dtype ? *model.dtype
                   : random    ? kernels::DType::bf16
                               : checkpoint_dtype(model.location),
          .kv = {.block_size = static_cast<std::int32_t>(device.block_size.value()),
                 .dtype = device.kv_dtype,
                 .device_blocks = static_cast<std::int32_t>(device.device_blocks.value()),
                 .host_blocks = static_cast<std::int32_t>(device.host_blocks.value()),
                 .maps_pages = device.map_kv}};
}

/// Loads the model into the backend. `about` is the backend's part of the provenance.
BuiltDevice build(const Setup& s, std::unique_ptr<kernels::Ops> ops, const nlohmann::ordered_json& about) {
  auto weights = load_model(s.model.location, s.seed, *ops);
  BuiltDevice built;
  auto made = std::make_unique<ModelDevice>(std::move(ops), std::move(weights), s.kv);
  built.model_device = made.get();
  built.vocabulary = s.shape.vocab;
  built.provenance = {{"device", s.device.kind}};
  built.provenance.update(about);
  built.provenance.update(
      {{"model", s.random ? s.shape.name : std::filesystem::path(s.model.location).filename().string()},
       {"weights", s.random ? "random" : "checkpoint"},
       {"parameters", s.shape.parameters()},
       {"dtype", kernels::name_of(s.dtype)},
       {"kv_dtype", kernels::name_of(s.device.kv_dtype)},
       {"block_size", s.device.block_size.value()},
       {"block_bytes", made->capacity().block_bytes.value()},
       {"device_blocks", s.device.device_blocks.value()},
       {"host_blocks", s.device.host_blocks.value()}});
  built.device = std::move(made);
  return built;
}

void require_memory(const Setup& s) {
  const Bytes together = s.weights() + s.device_pool() + s.host_pool();
  const Bytes available = available_memory();
  if (together > available) {
    throw InputError(
        fmt::format("{} does not fit into memory: weights ({}) {}, {} device blocks {}, {} host blocks {}, "
                    "together {}; there are "
                    "{} available",
                    s.shape.name, kernels::name_of(s.dtype), gigabytes(s.weights()), s.kv.device_blocks,
                    gigabytes(s.device_pool()), s.kv.host_blocks, gigabytes(s.host_pool()),
                    gigabytes(together), gigabytes(available)));
  }
}

BuiltDevice make_cpu(const ModelChoice& model, const DeviceChoice& device, std::uint64_t seed) {
  const Setup s = setup(model, device, seed);
  require_memory(s);
  const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  auto ops = std::make_unique<kernels::cpu::CpuOps>(
      kernels::cpu::CpuOptions{.threads = device.threads > 0 ? device.threads : cores,
                               .weight_dtype = s.dtype,
                               .mapped_kv = device.map_kv});
  try {
    return build(s, std::move(ops), {{"simd", simd_target()}, {"map_kv", device.map_kv}});
  } catch (const std::invalid_argument& error) {
    throw InputError(fmt::format("device 'cpu': {}", error.what()));
  }
}

/// A CUDA backend that the program was built with.
struct CudaBackend {
  std::unique_ptr<kernels::Ops> (*make_ops)(const kernels::CudaOptions& options);
  kernels::CudaDevice (*find_device)();
  bool in_host_memory;  ///< the device's memory is the host's
};

/// What a step needs besides weights and KV: the activations of as many tokens as the batching policies put
/// into a step by default, if the pool holds so many, the wider ones twice (f32, and as an input of a
/// product), and logits of as many rows.
Bytes activation_bytes(const Setup& s) {
  constexpr std::int64_t kTokens = 2560;
  constexpr std::int64_t kSamples = 256;
  const std::int64_t slots = std::int64_t{s.kv.device_blocks} * s.kv.block_size;
  const std::int64_t width = std::int64_t{3} * s.shape.hidden + s.shape.qkv_width() + 4 * s.shape.ffn;
  return Bytes(4 * (std::min(kTokens, slots) * width + std::min(kSamples, slots) * s.shape.vocab));
}

/// "12 blocks would fit", or "none would fit".
std::string fitting_text(Bytes pool, Bytes block) {
  return fmt::format("{} would fit", pool < block ? std::string("none")
                                                  : fmt::format("{} blocks", pool.value() / block.value()));
}

void require_cuda_memory(const Setup& s, const kernels::CudaDevice& found, bool in_host_memory) {
  const Bytes host = available_memory();
  const Bytes free = in_host_memory ? std::min(Bytes(found.free_bytes), host) : Bytes(found.free_bytes);
  const Bytes fixed = s.weights() + activation_bytes(s);
  if (fixed + s.device_pool() > free) {
    throw InputError(
        fmt::format("{} does not fit into the memory of {}: weights ({}) {}, activations {}, {} device "
                    "blocks {}, together {}; "
                    "there are {} free; of the blocks {}",
                    s.shape.name, found.name, kernels::name_of(s.dtype), gigabytes(s.weights()),
                    gigabytes(activation_bytes(s)), s.kv.device_blocks, gigabytes(s.device_pool()),
                    gigabytes(fixed + s.device_pool()), gigabytes(free),
                    fitting_text(free - std::min(free, fixed), s.block())));
  }
  const Bytes left = in_host_memory ? host - fixed - s.device_pool() : host;
  if (s.host_pool() > left) {
    throw InputError(fmt::format(
        "{} host blocks {} do not fit into the memory of the host: there are {} available; {}",
        s.kv.host_blocks, gigabytes(s.host_pool()), gigabytes(left), fitting_text(left, s.block())));
  }
}

BuiltDevice make_on(const CudaBackend& backend, const ModelChoice& model, const DeviceChoice& device,
                    std::uint64_t seed) {
  const Setup s = setup(model, device, seed);
  const kernels::CudaDevice found = backend.find_device();
  require_cuda_memory(s, found, backend.in_host_memory);
  auto ops = backend.make_ops({.weight_dtype = s.dtype,
                               .swap = device.swap,
                               .graphs = device.graphs,
                               .arena_bytes = activation_bytes(s).value()});
  return build(s, std::move(ops),
               {{"gpu", found.name},
                {"swap", device.swap == kernels::SwapMode::batched ? "batched" : "per_block"},
                {"graphs", device.graphs}});
}

BuiltDevice make_cuda_emulated(const ModelChoice& model, const DeviceChoice& device, std::uint64_t seed) {
  return make_on({kernels::cuda_emulated::make_ops, kernels::cuda_emulated::find_device, true}, model, device,
                 seed);
}

BuiltDevice make_cuda(const ModelChoice& model, const DeviceChoice& device, std::uint64_t seed) {
#ifdef PAGELAB_HAS_CUDA
  return make_on({kernels::cuda::make_ops, kernels::cuda::find_device, false}, model, device, seed);
#else
  setup(model, device, seed);  // a mistake in the model is told first, as on every device
  throw InputError(
      "device 'cuda': this pagelab was built without CUDA; build it where CUDA's toolkit is (cmake "
      "-DPAGELAB_CUDA=ON), or use the device 'cuda-emulated', the same kernels without a GPU");
#endif
}

/// The type of a simulated model's weights: that of the checkpoint if there is more of it than its config.
kernels::DType simulated_dtype(const ModelChoice& model) {
  if (model.dtype || find_shape(model.location) != nullptr) {
    return model.dtype.value_or(kernels::DType::f16);
  }
  const bool has_weights =
      std::ranges::any_of(std::filesystem::directory_iterator(model.location),
                          [](const auto& entry) { return entry.path().extension() == ".safetensors"; });
  return has_weights ? checkpoint_dtype(model.location) : kernels::DType::f16;
}

nlohmann::ordered_json plan_json(const MemoryPlan& plan) {
  return {{"usable_bytes", plan.usable.value()},
          {"weight_bytes", plan.weights.value()},
          {"activation_bytes", plan.activations.value()},
          {"workspace_bytes", plan.workspace.value()},
          {"block_bytes", plan.block.value()},
          {"device_blocks", plan.device_blocks.value()}};
}

/// The blocks of both pools: those that the experiment gives, or that memory has room for, which is told in
/// `about`.
SimPools pools_of(const DeviceChoice& choice, const ModelShape& shape, const MemoryOptions& memory,
                  nlohmann::ordered_json& about) {
  SimPools pools{choice.device_blocks, choice.host_blocks};
  if (pools.device_blocks == Blocks(0)) {
    const MemoryPlan plan = plan_memory(shape, memory);
    about["memory_plan_per_gpu"] = plan_json(plan);
    pools.device_blocks = plan.device_blocks;
  }
  if (pools.host_blocks == Blocks(0)) {
    pools.host_blocks = plan_host_blocks(shape, memory);
  }
  if (std::max(pools.device_blocks, pools.host_blocks) > Blocks(most_blocks)) {
    throw InputError(fmt::format(
        "memory has room for {} device blocks and {} host blocks; at most {} of each can be addressed",
        pools.device_blocks.value(), pools.host_blocks.value(), most_blocks));
  }
  return pools;
}

BuiltDevice make_sim(const ModelChoice& model, const DeviceChoice& device, std::uint64_t) {
  const SimChoice& sim = *device.sim;
  const ModelShape shape = resolve_shape(model.location);
  const DeviceDescription description = read_device_description(sim.description);
  const CostOptions options{.gpus = sim.memory.gpus,
                            .block_size = device.block_size,
                            .dtype = simulated_dtype(model),
                            .kv_dtype = device.kv_dtype,
                            .host = sim.host,
                            .swap_overlaps = sim.swap_overlaps,
                            .map_s = sim.map_s,
                            .map_overlaps = sim.map_overlaps,
                            .padded = sim.padded};
  MemoryOptions memory = sim.memory;
  memory.memory_gib = description.memory_gib;
  memory.block_size = options.block_size;
  memory.dtype = options.dtype;
  memory.kv_dtype = options.kv_dtype;
  nlohmann::ordered_json about = nlohmann::ordered_json::object();
  auto made =
      std::make_unique<SimDevice>(description, shape, options, pools_of(device, shape, memory, about));
  const DeviceCapacity capacity = made->capacity();
  BuiltDevice built;
  built.sim_device = made.get();
  built.virtual_time = true;
  built.vocabulary = shape.vocab;
  built.provenance = {{"device", device.kind},
                      {"description", description.name},
                      {"description_source", description.source},
                      {"gpus", options.gpus},
                      {"model", shape.name},
                      {"weights", "none"},
                      {"parameters", shape.parameters()},
                      {"dtype", kernels::name_of(options.dtype)},
                      {"kv_dtype", kernels::name_of(options.kv_dtype)},
                      {"block_size", capacity.block_size.value()},
                      {"block_bytes", capacity.block_bytes.value()},
                      {"device_blocks", capacity.device_blocks.value()},
                      {"host_blocks", capacity.host_blocks.value()}};
  built.provenance.update(about);
  built.device = std::move(made);
  return built;
}

BuiltDevice make_check(const ModelChoice&, const DeviceChoice& device, std::uint64_t) {
  auto made = std::make_unique<CheckDevice>(device.device_blocks.value(), device.host_blocks.value(),
                                            device.block_size.value(), device.vocabulary);
  BuiltDevice built;
  built.virtual_time = true;
  built.vocabulary = device.vocabulary;
  built.provenance = {{"device", device.kind},
                      {"model", "none"},
                      {"weights", "none"},
                      {"block_size", device.block_size.value()},
                      {"block_bytes", made->capacity().block_bytes.value()},
                      {"device_blocks", device.device_blocks.value()},
                      {"host_blocks", device.host_blocks.value()}};
  built.device = std::move(made);
  return built;
}

constexpr std::array kinds = {DeviceKind{"cpu", make_cpu}, DeviceKind{"cuda", make_cuda},
                              DeviceKind{"cuda-emulated", make_cuda_emulated},
                              DeviceKind{"sim", make_sim, false}, DeviceKind{"check", make_check, false}};

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

std::string simd_target() {
  const auto targets = static_cast<std::int64_t>(hwy::SupportedTargets()) & std::int64_t{HWY_TARGETS};
  return hwy::TargetName(targets & -targets);
}

Bytes available_memory() {
  const std::int64_t kilobytes = number_in("/proc/meminfo", "MemAvailable:");
  const std::int64_t machine = kilobytes < 0 ? unlimited : kilobytes * 1024;
  return Bytes(std::min(machine, control_group_allows()));
}

}  // namespace pagelab
