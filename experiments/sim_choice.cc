#include "experiments/sim_choice.h"

#include <limits>
#include <utility>

namespace pagelab {
namespace {

constexpr double kMostInt32 = std::numeric_limits<std::int32_t>::max();

ParameterSpec host_cost(std::string name, std::string help) {
  return {.name = std::move(name),
          .default_value = 0.0,
          .unit = "s",
          .help = std::move(help),
          .minimum = 0,
          .maximum = 1e6};
}

ParameterSpec gib(std::string name, double standard, std::string help) {
  return {.name = std::move(name),
          .default_value = standard,
          .unit = "GiB",
          .help = std::move(help),
          .minimum = 0,
          .maximum = 1e6};
}

}  // namespace

std::vector<ParameterSpec> sim_parameters() {
  return {{.name = "description",
           .default_value = "",
           .help = "the file that describes the device",
           .required = true,
           .path = true},
          {.name = "gpus",
           .default_value = 1,
           .unit = "devices",
           .help = "degree of tensor parallelism",
           .minimum = 1,
           .maximum = 1024},
          {.name = "block_size",
           .default_value = 16,
           .unit = "tokens",
           .help = "slots of a KV block",
           .minimum = 1,
           .maximum = 256},
          {.name = "device_blocks",
           .default_value = 0,
           .unit = "blocks",
           .help = "KV pool of the device; 0: what the memory has room for",
           .minimum = 0,
           .maximum = kMostInt32},
          {.name = "host_blocks",
           .default_value = 0,
           .unit = "blocks",
           .help = "KV pool of the host, for swapping; 0: what swap_space_gib has room for",
           .minimum = 0,
           .maximum = kMostInt32},
          {.name = "kv_dtype",
           .default_value = "f16",
           .help = "of K and V in the blocks",
           .choices = {"f32", "bf16", "f16"}},
          {.name = "memory_utilization",
           .default_value = 0.95,
           .help = "share of the device's memory that may be used",
           .maximum = 1,
           .above = 0},
          {.name = "activation_tokens",
           .default_value = 2560,
           .unit = "tokens",
           .help = "of a step, that the activations' memory is sized for",
           .minimum = 1,
           .maximum = 1e9},
          gib("workspace_gib", 1.0, "memory of each device for the matrix products' workspace"),
          gib("swap_space_gib", 20.0, "host memory per device for swapped blocks"),
          host_cost("host_step_s", "that the software on the host adds to each step"),
          host_cost("host_sequence_s", "for each sequence in the step"),
          host_cost("host_prefill_token_s", "for each token of a prefill"),
          host_cost("host_worker_s", "for each device beyond the first"),
          {.name = "padded",
           .default_value = false,
           .help = "every chunk of a step is computed as if it were the longest, after the longest context"}};
}

SimChoice sim_choice(const Parameters& p) {
  return {.description = p.text("description"),
          .memory = {.utilization = p.real("memory_utilization"),
                     .workspace_gib = p.real("workspace_gib"),
                     .swap_space_gib = p.real("swap_space_gib"),
                     .activation_tokens = Tokens(p.integer("activation_tokens")),
                     .gpus = static_cast<std::int32_t>(p.integer("gpus"))},
          .host = {.step_s = p.real("host_step_s"),
                   .sequence_s = p.real("host_sequence_s"),
                   .prefill_token_s = p.real("host_prefill_token_s"),
                   .worker_s = p.real("host_worker_s")},
          .padded = p.flag("padded")};
}

}  // namespace pagelab
