#include "experiments/sim_choice.h"

#include <utility>

#include "experiments/experiment_parameters.h"

namespace pagelab {
namespace {

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
  std::vector<ParameterSpec> parameters = {{.name = "description",
                                            .default_value = "",
                                            .help = "the file that describes the device",
                                            .required = true,
                                            .path = true},
                                           {.name = "gpus",
                                            .default_value = 1,
                                            .unit = "devices",
                                            .help = "degree of tensor parallelism",
                                            .minimum = 1,
                                            .maximum = 1024}};
  const std::vector<ParameterSpec> pools =
      pool_parameters({.blocks = 0,
                       .dtype = "f16",
                       .largest_block = 65536,
                       .device_help = "; 0: what the memory has room for",
                       .host_help = "; 0: what swap_space_gib has room for"});
  parameters.insert(parameters.end(), pools.begin(), pools.end());
  const std::vector<ParameterSpec> costs = {
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
      host_cost("host_request_s", "for each request that gets next tokens, however many"),
      host_cost("host_draw_s", "in addition for each of them that is not decoded greedily"),
      host_cost("host_fork_token_s", "for each token of a sequence that beam search splits off"),
      host_cost("host_prefill_token_s", "for each token of a prefill"),
      host_cost("host_parallel_s", "to each step on more than one device"),
      {.name = "swap_overlaps",
       .default_value = false,
       .help = "the bytes of swapped blocks move beside the forward pass, layer by layer"},
      {.name = "map_page_s",
       .default_value = 4e-5,
       .unit = "s",
       .help =
           "of mapping a page, one per layer for K and one for V of a block, where the allocation maps pages",
       .minimum = 0,
       .maximum = 1e6},
      {.name = "map_overlaps",
       .default_value = true,
       .help = "pages are mapped while the device computes; only what takes longer counts"},
      {.name = "padded",
       .default_value = false,
       .help = "every chunk of a step is computed as if it were the longest, after the longest context"}};
  parameters.insert(parameters.end(), costs.begin(), costs.end());
  return parameters;
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
                   .request_s = p.real("host_request_s"),
                   .draw_s = p.real("host_draw_s"),
                   .fork_token_s = p.real("host_fork_token_s"),
                   .prefill_token_s = p.real("host_prefill_token_s"),
                   .parallel_s = p.real("host_parallel_s")},
          .swap_overlaps = p.flag("swap_overlaps"),
          .map_s = p.real("map_page_s"),
          .map_overlaps = p.flag("map_overlaps"),
          .padded = p.flag("padded")};
}

}  // namespace pagelab
