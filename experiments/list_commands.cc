#include "experiments/list_commands.h"

#include <fmt/format.h>

#include "core/error.h"
#include "kernels/ops.h"
#include "models/family.h"
#include "models/shape.h"

namespace pagelab {

std::string list_policies(const PolicyRegistry& registry) {
  std::string text;
  for (const PolicyRegistry::AxisEntry& axis : registry.axes()) {
    text += fmt::format("{}: {}\n", axis.name, axis.question);
    for (const PolicyEntry& policy : axis.policies) {
      const bool standard = policy.info.name == axis.standard;
      text += fmt::format(
          "  {:<16} {}{}{}\n", policy.info.name, policy.info.summary, standard ? " (default)" : "",
          policy.info.needs.empty() ? "" : fmt::format(" (needs = \"{}\")", policy.info.needs));
    }
  }
  return text;
}

std::string describe_policy(const PolicyRegistry& registry, std::string_view which) {
  const std::size_t slash = which.find('/');
  if (slash == std::string_view::npos) {
    throw InputError(fmt::format("'{}' names no policy; write AXIS/NAME, such as batching/mixed", which));
  }
  const PolicyInfo& info = registry.find(which.substr(0, slash), which.substr(slash + 1)).info;
  std::string text = fmt::format("{}: {}\n", which, info.summary);
  if (!info.source.empty()) {
    text += fmt::format("source: {}\n", info.source);
  }
  if (!info.plugin.empty()) {
    text += fmt::format("plugin: {}\n", info.plugin);
  }
  if (!info.needs.empty()) {
    text += fmt::format("needs: {}\n", info.needs);
  }
  if (info.bounds_waiting) {
    text += "promises: no request waits without end\n";
  }
  if (info.parameters.empty()) {
    return text + "parameters: none\n";
  }
  text += "parameters:\n";
  for (const ParameterSpec& spec : info.parameters) {
    text += fmt::format("  {} = {}\n      {}\n      {}\n", spec.name,
                        spec.required ? "(required)" : toml_text(spec.default_value), spec.help,
                        domain_text(spec));
  }
  return text;
}

std::string describe_plugins(const Plugins& plugins) {
  std::string text;
  for (const auto& plugin : plugins) {
    const PluginAbi& abi = plugin->abi();
    text += fmt::format("{}\nbuilt for pagelab {} by {}, {}, sanitizer {}, assertions {}\n",
                        plugin->file().string(), abi.pagelab, abi.compiler, abi.standard_library,
                        abi.sanitizers, abi.assertions);
    for (const PolicyRegistry::AxisEntry& axis : plugin->policies().axes()) {
      for (const PolicyEntry& policy : axis.policies) {
        text += '\n';
        text += describe_policy(plugin->policies(), fmt::format("{}/{}", axis.name, policy.info.name));
      }
    }
  }
  return text;
}

std::string list_models() {
  std::string text =
      fmt::format("{:<16} {:>8} {:>11} {:>7} {:>7} {:>6} {:>9} {:>10} {:>9} {:>13}\n", "model", "family",
                  "parameters", "layers", "hidden", "heads", "kv_heads", "positions", "vocab", "KV B/token");
  for (const ModelShape& shape : builtin_shapes()) {
    text += fmt::format("{:<16} {:>8} {:>10.2f}B {:>7} {:>7} {:>6} {:>9} {:>10} {:>9} {:>13}\n", shape.name,
                        shape.family->name, 1e-9 * static_cast<double>(shape.parameters()), shape.layers,
                        shape.hidden, shape.heads, shape.kv_heads, shape.max_positions, shape.vocab,
                        shape.kv_bytes_per_token(kernels::DType::bf16).value());
  }
  return text + "KV B/token: bytes of K and V of one token over all layers, in bf16\n";
}

}  // namespace pagelab
