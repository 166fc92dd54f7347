#include "experiments/experiment_parameters.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "core/error.h"
#include "experiments/sim_choice.h"
#include "models/shape.h"

namespace pagelab {
namespace {

constexpr double kMostInt32 = std::numeric_limits<std::int32_t>::max();

constexpr std::array<std::pair<std::string_view, Sampling::Method>, 3> kMethods = {
    {{"greedy", Sampling::Method::greedy},
     {"random", Sampling::Method::random},
     {"beam", Sampling::Method::beam}}};

std::vector<std::string> method_names() {
  std::vector<std::string> names;
  for (const auto& [name, method] : kMethods) {
    names.emplace_back(name);
  }
  return names;
}

/// The built-in shapes; "" leaves the choice to `path`.
std::vector<std::string> shape_names() {
  std::vector<std::string> names = {""};
  for (const ModelShape& shape : builtin_shapes()) {
    names.push_back(shape.name);
  }
  return names;
}

ParameterSpec cost(std::string name, double standard, std::string unit, std::string help) {
  return {.name = std::move(name),
          .default_value = standard,
          .unit = std::move(unit),
          .help = std::move(help),
          .minimum = 0,
          .maximum = 1e6};
}

/// The keys of a device that runs a model: its own, then those of its KV pools.
std::vector<ParameterSpec> real_device(std::vector<ParameterSpec> parameters) {
  const std::vector<ParameterSpec> pools = pool_parameters({});
  parameters.insert(parameters.end(), pools.begin(), pools.end());
  return parameters;
}

}  // namespace

std::vector<ParameterSpec> pool_parameters(const PoolDefaults& defaults) {
  return {{.name = "block_size",
           .default_value = 16,
           .unit = "tokens",
           .help = "slots of a KV block",
           .minimum = 1,
           .maximum = defaults.largest_block},
          {.name = "device_blocks",
           .default_value = defaults.blocks,
           .unit = "blocks",
           .help = "KV pool of the device" + defaults.device_help,
           .minimum = std::min<double>(1, static_cast<double>(defaults.blocks)),
           .maximum = kMostInt32},
          {.name = "host_blocks",
           .default_value = defaults.blocks,
           .unit = "blocks",
           .help = "KV pool of the host, for swapping" + defaults.host_help,
           .minimum = 0,
           .maximum = kMostInt32},
          {.name = "kv_dtype",
           .default_value = defaults.dtype,
           .help = "of K and V in the blocks",
           .choices = {"f32", "bf16", "f16"}}};
}

std::vector<ParameterSpec> run_parameters(const std::string& name) {
  return {{.name = "name", .default_value = name, .help = "of the run folder"},
          {.name = "seed", .default_value = 1, .help = "of every random stream of the run", .minimum = 0},
          {.name = "plugins",
           .default_value = TextList(),
           .help = "shared libraries whose policies can be chosen",
           .path = true}};
}

std::vector<ParameterSpec> model_parameters() {
  return {{.name = "shape",
           .default_value = "",
           .help = "a built-in shape with random weights (pagelab models)",
           .choices = shape_names()},
          {.name = "path",
           .default_value = "",
           .help = "or the folder of a Hugging Face checkpoint",
           .path = true},
          {.name = "dtype",
           .default_value = "auto",
           .help = "of the weights; auto: the checkpoint's, bf16 for random weights, f16 for simulated ones",
           .choices = {"auto", "f32", "bf16", "f16"}}};
}

const std::vector<DeviceParameters>& device_parameters() {
  static const std::vector<DeviceParameters> kinds = [] {
    const ParameterSpec threads = {.name = "threads",
                                   .default_value = 0,
                                   .unit = "threads",
                                   .help = "0: one per core",
                                   .minimum = 0,
                                   .maximum = 4096};
    const ParameterSpec map_kv = {
        .name = "map_kv",
        .default_value = false,
        .help =
            "a sequence's blocks are mapped to adjacent addresses, which attention then reads; for the "
            "allocation policy 'virtual'"};
    const ParameterSpec swap = {
        .name = "swap",
        .default_value = "batched",
        .help = "blocks move between the pools in one transfer per step, or each by itself",
        .choices = {"batched", "per_block"}};
    const ParameterSpec graphs = {
        .name = "graphs", .default_value = false, .help = "replay steps of the same shape as a CUDA graph"};
    const ParameterSpec vocabulary = {.name = "vocabulary",
                                      .default_value = 1000,
                                      .unit = "tokens",
                                      .help = "that the device draws from, whatever the model",
                                      .minimum = 1,
                                      .maximum = kMostInt32};
    return std::vector<DeviceParameters>{{"cpu", real_device({threads, map_kv})},
                                         {"cuda", real_device({swap, graphs})},
                                         {"cuda-emulated", real_device({swap, graphs})},
                                         {"sim", sim_parameters()},
                                         {"check", real_device({vocabulary})}};
  }();
  return kinds;
}

std::vector<ParameterSpec> workload_parameters() {
  return {{.name = "requests",
           .default_value = 0,
           .unit = "requests",
           .help = "at most; 0: until the trace or duration_s ends",
           .minimum = 0,
           .maximum = kMostInt32},
          {.name = "duration_s",
           .default_value = 0.0,
           .unit = "s",
           .help = "requests arrive before this time only; 0: no limit",
           .minimum = 0,
           .maximum = 1e9},
          {.name = "prefix_tokens",
           .default_value = 0,
           .unit = "tokens",
           .help = "first tokens of every prompt, the same for all, ahead of its own length",
           .minimum = 0,
           .maximum = 1e6}};
}

std::vector<std::string> workload_sections() {
  return {"lengths", "arrivals", "clients", "priorities", "deadlines"};
}

std::vector<ParameterSpec> sampling_parameters() {
  return {{.name = "method",
           .default_value = "greedy",
           .help = "how the next token is chosen",
           .choices = method_names()},
          {.name = "n",
           .default_value = 1,
           .unit = "sequences",
           .help = "parallel samples, or the beam width",
           .minimum = 1,
           .maximum = 256},
          {.name = "share",
           .default_value = 1.0,
           .help = "of the requests, drawn, that get n sequences; the others get one",
           .minimum = 0,
           .maximum = 1},
          {.name = "temperature",
           .default_value = 1.0,
           .help = "of random sampling",
           .maximum = 1000,
           .above = 0},
          {.name = "top_k",
           .default_value = 0,
           .unit = "tokens",
           .help = "0: the whole vocabulary",
           .minimum = 0,
           .maximum = kMostInt32},
          {.name = "top_p",
           .default_value = 1.0,
           .help = "probability mass that is sampled from",
           .maximum = 1,
           .above = 0},
          {.name = "length_penalty",
           .default_value = 1.0,
           .help = "beam: score = sum of log-probabilities / length^penalty",
           .minimum = -10,
           .maximum = 10},
          {.name = "eos",
           .default_value = -1,
           .help = "token that ends a sequence; -1: none",
           .minimum = -1,
           .maximum = kMostInt32},
          {.name = "forced_output",
           .default_value = true,
           .help = "every sequence gets exactly its output length, eos or not"}};
}

std::vector<ParameterSpec> output_parameters() {
  return {{.name = "steps", .default_value = true, .help = "write steps.csv"},
          {.name = "requests", .default_value = true, .help = "write requests.csv"},
          {.name = "decisions", .default_value = false, .help = "write decisions.jsonl"},
          {.name = "trace", .default_value = true, .help = "write trace.json, a Chrome/Perfetto timeline"},
          {.name = "census",
           .default_value = true,
           .help = "count how often policies other than the standard ones are asked and differ from those"}};
}

const std::vector<ClockKind>& clock_kinds() {
  // The defaults are of the order of opt-125m in bf16 on two cores; they stand for no measured machine.
  static const std::vector<ClockKind> kinds = {
      {"real", {}},  // of a simulated device: the time that its cost model gives
      {"virtual",
       {cost("step_s", 0.008, "s", "of every step"),
        cost("prefill_token_s", 0.0005, "s/token", "of each token computed in a prefill"),
        cost("decode_token_s", 0.001, "s/token", "of each token computed in a decode"),
        cost("context_token_s", 2e-6, "s/token", "of each token of context that a sequence attends to"),
        cost("swap_byte_s", 1e-10, "s/byte", "of each byte swapped in or out"),
        cost("copy_block_s", 1e-4, "s/block", "of each block copied")}}};
  return kinds;
}

StepCost step_cost(const Parameters& p) {
  return {.step_s = p.real("step_s"),
          .prefill_token_s = p.real("prefill_token_s"),
          .decode_token_s = p.real("decode_token_s"),
          .context_token_s = p.real("context_token_s"),
          .swap_byte_s = p.real("swap_byte_s"),
          .copy_block_s = p.real("copy_block_s")};
}

Sampling::Method sampling_method(std::string_view name) {
  for (const auto& [known, method] : kMethods) {
    if (known == name) {
      return method;
    }
  }
  invariant_failed("a sampling method", __FILE__, __LINE__, std::string(name));
}

}  // namespace pagelab
