#include "models/memory_plan.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/error.h"
#include "models/family.h"
#include "models/shard.h"

namespace pagelab {
namespace {

constexpr double kGib = 1024.0 * 1024 * 1024;

Bytes gib(double value) {
  return Bytes(static_cast<std::int64_t>(value * kGib));
}

double in_gib(Bytes bytes) {
  return static_cast<double>(bytes.value()) / kGib;
}

/// K and V of a block over all layers, on one device.
Bytes block_bytes(const ModelShape& shape, const Shard& shard, const MemoryOptions& options) {
  return Bytes(shape.layers * shard.kv_bytes_per_layer(options.kv_dtype) * options.block_size.value());
}

/// Input and output of the widest layer with the residual beside them, or the logits, whole on each device.
Bytes activation_bytes(const ModelShape& shape, const Shard& shard, const MemoryOptions& options) {
  const std::int64_t tokens = options.activation_tokens.value();
  const std::int64_t ffn = (shape.family->gated ? 2 : 1) * std::int64_t{shard.ffn};
  const std::int64_t widest = std::max<std::int64_t>(shard.qkv_width, ffn);
  const std::int64_t layer = 2 * tokens * (widest + shape.hidden);
  const std::int64_t logits = 2 * tokens * shape.vocab;
  return Bytes(static_cast<std::int64_t>(kernels::size_of(options.dtype)) * std::max(layer, logits));
}

}  // namespace

MemoryPlan plan_memory(const ModelShape& shape, const MemoryOptions& options) {
  const Shard shard = shard_of(shape, options.gpus);
  const auto bytes = static_cast<std::int64_t>(kernels::size_of(options.dtype));
  MemoryPlan plan{.usable = gib(options.utilization * options.memory_gib),
                  .weights = Bytes(shard.parameters(shape) * bytes),
                  .activations = activation_bytes(shape, shard, options),
                  .workspace = gib(options.workspace_gib),
                  .block = block_bytes(shape, shard, options),
                  .device_blocks = {}};
  const Bytes left = plan.usable - plan.weights - plan.activations - plan.workspace;
  if (left < plan.block) {
    throw InputError(fmt::format(
        "{} does not fit into {} device(s) of {} GiB: of {:.2f} GiB usable on each, weights take {:.2f}, "
        "activations of {} tokens {:.2f}, the workspace {:.2f}, one block {:.4f}",
        shape.name, options.gpus, options.memory_gib, in_gib(plan.usable), in_gib(plan.weights),
        options.activation_tokens.value(), in_gib(plan.activations), in_gib(plan.workspace),
        in_gib(plan.block)));
  }
  plan.device_blocks = Blocks(left / plan.block);
  return plan;
}

Blocks plan_host_blocks(const ModelShape& shape, const MemoryOptions& options) {
  return Blocks(gib(options.swap_space_gib) / block_bytes(shape, shard_of(shape, options.gpus), options));
}

}  // namespace pagelab
