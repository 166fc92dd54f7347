// DeviceFactory: from what an experiment says of model and device to a Device that runs it. One table of
// kinds, by name; it checks that model and KV pools fit into memory before anything is allocated.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "core/device.h"
#include "experiments/experiment.h"
#include "models/model_device.h"
#include "models/sim_device.h"

namespace pagelab {

/// A device and what is to be said of it.
struct BuiltDevice {
  std::unique_ptr<Device> device;
  const ModelDevice* model_device = nullptr;  ///< the one inside, for its operator times
  const SimDevice* sim_device = nullptr;      ///< the same of a simulated one, whose time is virtual
  bool virtual_time = false;                  ///< a step takes what it says, not what it took
  std::int64_t vocabulary = 0;
  nlohmann::ordered_json
      provenance;  ///< model, types, instruction set; no path and nothing of the wall clock
};

struct DeviceKind {
  std::string_view name;
  BuiltDevice (*make)(const ModelChoice& model, const DeviceChoice& device, std::uint64_t seed);
  bool runs_models = true;  ///< rather than simulating that
};

std::span<const DeviceKind> device_kinds();

/// Makes the device that `device.kind` names. Random weights are drawn from `seed`. Throws InputError if the
/// model cannot be read, or needs more memory than there is (saying how much and how much there is).
BuiltDevice make_device(const ModelChoice& model, const DeviceChoice& device, std::uint64_t seed);

/// The instruction set that the cpu kernels run with: the best of those compiled in and supported.
std::string simd_target();

/// Bytes of memory that can still be used on this machine: what the kernel says is available, less if the
/// process's control group allows less. The largest number if nothing is known.
Bytes available_memory();

}  // namespace pagelab
