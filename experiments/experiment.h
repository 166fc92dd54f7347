// Experiment: everything that a run is told, resolved from one TOML file and its overrides. Each section is
// read once against its declarations; the typed fields below are what the program uses, `sections` is the
// same in the form in which it is written to the run folder. It makes no engine, model or device.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/config.h"
#include "core/ids.h"
#include "core/parameters.h"
#include "core/policy_registry.h"
#include "experiments/plugin/plugin.h"
#include "experiments/sim_choice.h"
#include "experiments/workload.h"
#include "kernels/cuda/ops/make_cuda_ops.h"
#include "kernels/ops.h"
#include "models/timed_device.h"

namespace pagelab {

/// [model]
struct ModelChoice {
  std::string location;  ///< a built-in shape, or the folder of a checkpoint
  bool is_path = false;
  std::optional<kernels::DType> dtype;  ///< of the weights; none: the device's choice
};

/// [device]
struct DeviceChoice {
  std::string kind;
  std::int32_t threads = 0;  ///< of the cpu; 0: all cores
  bool map_kv = false;       ///< of the cpu
  Tokens block_size{};
  Blocks device_blocks{};
  Blocks host_blocks{};
  kernels::DType kv_dtype = kernels::DType::bf16;
  kernels::SwapMode swap = kernels::SwapMode::batched;  ///< of a CUDA device
  bool graphs = false;                                  ///< of a CUDA device
  std::optional<SimChoice> sim{};                       ///< of a simulated device
  std::int32_t vocabulary = 0;                          ///< of a device that stores tokens
};

/// [policy.AXIS]
struct PolicyChoice {
  std::string axis;
  std::string name;
  std::string needs;  ///< as PolicyInfo says: "oracle", or nothing
  Parameters parameters;
  std::string plugin{};  ///< the file that it comes from; empty: built in
};

/// [output]
struct OutputChoice {
  bool steps = true;
  bool requests = true;
  bool decisions = false;
  bool trace = true;
  bool census = true;
};

struct Experiment {
  std::string name;  ///< of the run folder: letters, digits, '.', '_', '-'
  std::uint64_t seed = 0;
  Plugins plugins;  ///< loaded for as long as the experiment, or a copy of it, lives
  ModelChoice model;
  DeviceChoice device;
  std::optional<StepCost> step_cost;  ///< of the virtual clock; none: the device's own time
  WorkloadSpec workload;
  std::vector<PolicyChoice> policies;  ///< one per axis, in the registry's order
  OutputChoice output;

  /// One section as resolved, in the order of the file that is written.
  struct Section {
    std::string path;  ///< empty: the keys before the first section
    Parameters parameters;
  };
  std::vector<Section> sections;
};

/// Reads an experiment. Overrides are "a.b.c=VALUE". `registry` holds the built-in policies; the experiment's
/// plugins add theirs, and so do those in the files `plugins`. Throws InputError that names file, line and
/// key.
Experiment read_experiment(const std::filesystem::path& file, std::span<const std::string> overrides,
                           const PolicyRegistry& registry, const TextList& plugins = {});
/// The same from a parsed document; `name` is used unless it sets one.
Experiment resolve_experiment(const ConfigTable& root, const std::string& name,
                              const PolicyRegistry& registry, const TextList& plugins = {});

/// The whole experiment as TOML, defaults included, each key with its unit and meaning. Reading it again
/// gives the same experiment. Paths are written relative to `folder`, where the text will lie, unless the
/// only way there leads through the root of the file system.
std::string experiment_toml(const Experiment& experiment, const std::filesystem::path& folder);

/// Makes the policies of a run, which must not outlive the experiment, since that holds the plugins.
/// `registry` must be the one that the experiment was resolved with. Throws InputError that names the policy
/// if one cannot be made.
PolicySet make_policies(const Experiment& experiment, const PolicyRegistry& registry);

}  // namespace pagelab
