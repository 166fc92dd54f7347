// MemoryPlan: how many KV blocks a device has room for, by the arithmetic of the PagedAttention authors'
// memory analyzer (vLLM before its release, cacheflow/models/memory_analyzer.py), which gives Table 1 of the
// SOSP'23 paper: usable memory less weights, the largest activations of a step and a workspace, in whole
// blocks. A value; nothing is allocated.
#pragma once

#include <cstdint>

#include "core/ids.h"
#include "kernels/ops.h"
#include "models/shape.h"

namespace pagelab {

struct MemoryOptions {
  double memory_gib = 0;           ///< of one device
  double utilization = 0.95;       ///< share of it that may be used
  double workspace_gib = 1;        ///< of the matrix products
  double swap_space_gib = 20;      ///< of host memory, per device
  Tokens activation_tokens{2560};  ///< tokens of a step that the activations are sized for
  std::int32_t gpus = 1;
  Tokens block_size{16};
  kernels::DType dtype = kernels::DType::f16;  ///< of weights and activations
  kernels::DType kv_dtype = kernels::DType::f16;
};

/// All bytes are those of one device.
struct MemoryPlan {
  Bytes usable;
  Bytes weights;
  Bytes activations;
  Bytes workspace;
  Bytes block;  ///< K and V of one block over all layers
  Blocks device_blocks;
};

/// Throws InputError if the model does not fit, saying what each part takes, or cannot be divided.
MemoryPlan plan_memory(const ModelShape& shape, const MemoryOptions& options);

/// Blocks that the swap space has room for.
Blocks plan_host_blocks(const ModelShape& shape, const MemoryOptions& options);

}  // namespace pagelab
