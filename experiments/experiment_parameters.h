// The declarations of the sections of an experiment whose keys do not depend on a kind: names, defaults,
// bounds, units and one line of help each. experiment.cc resolves them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/parameters.h"
#include "core/request.h"
#include "models/timed_device.h"

namespace pagelab {

/// The keys before the first section. `name` is the default of the run's name.
std::vector<ParameterSpec> run_parameters(const std::string& name);
std::vector<ParameterSpec> model_parameters();
std::vector<ParameterSpec> workload_parameters();
std::vector<ParameterSpec> sampling_parameters();
std::vector<ParameterSpec> output_parameters();

/// What differs between the kinds of [device] in the keys of their KV pools.
struct PoolDefaults {
  std::int64_t blocks = 512;  ///< of either pool; 0: worked out, so 0 is valid
  std::string dtype = "bf16";
  std::int64_t largest_block = 256;
  std::string device_help{};  ///< what is to be said besides
  std::string host_help{};
};
std::vector<ParameterSpec> pool_parameters(const PoolDefaults& defaults);

/// The kinds of [device], each with all of its keys.
struct DeviceParameters {
  std::string name;
  std::vector<ParameterSpec> parameters;
};
const std::vector<DeviceParameters>& device_parameters();

/// The kinds of [clock]: real, and virtual with the coefficients of the step's cost.
struct ClockKind {
  std::string name;
  std::vector<ParameterSpec> parameters;
};
const std::vector<ClockKind>& clock_kinds();
StepCost step_cost(const Parameters& virtual_clock);

/// The method of that name. Requires one of the choices of sampling_parameters().
Sampling::Method sampling_method(std::string_view name);

}  // namespace pagelab
