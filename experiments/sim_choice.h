// SimChoice: the keys of [device] that only a simulated device has. What executes the steps is described by a
// file (models/device_description.h); what the serving software on the host adds is said here, since it
// belongs to the system that is simulated and not to the device.
#pragma once

#include <string>
#include <vector>

#include "core/parameters.h"
#include "models/cost_model.h"
#include "models/memory_plan.h"

namespace pagelab {

struct SimChoice {
  std::string description;  ///< the file
  /// What the numbers of blocks follow from where they are 0. Model types, block size and the device's memory
  /// are not known here.
  MemoryOptions memory{};
  HostCost host{};
  bool swap_overlaps = false;
  double map_s = 0;
  bool map_overlaps = false;
  bool padded = false;
};

/// The declarations of all keys of kind "sim", those of the KV pools among them.
std::vector<ParameterSpec> sim_parameters();
SimChoice sim_choice(const Parameters& p);

}  // namespace pagelab
