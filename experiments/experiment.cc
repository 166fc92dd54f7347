#include "experiments/experiment.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <limits>

#include "core/error.h"
#include "experiments/arrivals.h"
#include "experiments/experiment_parameters.h"
#include "experiments/lengths.h"

namespace pagelab {
namespace {

constexpr std::int64_t kMostSlots = std::numeric_limits<std::int32_t>::max();

/// Resolves a section and keeps it for the record.
const Parameters& take(Experiment& out, const ConfigTable& table, const std::vector<ParameterSpec>& specs,
                       const std::vector<std::string>& sections = {}) {
  out.sections.push_back({table.path(), table.resolve(specs, sections)});
  return out.sections.back().parameters;
}

/// The same for a section that depends on its `kind`.
template <class K>
KindChoice take_kind(Experiment& out, const ConfigTable& table, const std::vector<K>& kinds,
                     const char* help) {
  KindChoice choice = resolve_kind(table, kinds, help);
  out.sections.push_back({table.path(), choice.parameters});
  return choice;
}

kernels::DType dtype_named(std::string_view name) {
  for (const auto dtype : {kernels::DType::f32, kernels::DType::bf16, kernels::DType::f16}) {
    if (kernels::name_of(dtype) == name) {
      return dtype;
    }
  }
  invariant_failed("a dtype among the choices", __FILE__, __LINE__, std::string(name));
}

bool is_plain_name(std::string_view name) {
  constexpr std::string_view allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
  return !name.empty() && name.front() != '.' && name.find_first_not_of(allowed) == std::string_view::npos;
}

/// Loads the plugins that the experiment names, and those named besides, and records them all. Returns the
/// registry with their policies.
PolicyRegistry resolve_plugins(Experiment& out, const ConfigTable& root, const PolicyRegistry& registry,
                               const TextList& besides) {
  Parameters& p = out.sections.front().parameters;
  try {
    load_plugins(p.texts("plugins"), out.plugins);
    with_plugins(registry, out.plugins);
  } catch (const InputError& error) {
    root.fail("plugins", fmt::format("cannot be used: {}", error.what()));
  }
  load_plugins(besides, out.plugins);
  TextList files;
  for (const auto& plugin : out.plugins) {
    files.push_back(plugin->file().string());
  }
  p.set("plugins", files);
  return with_plugins(registry, out.plugins);
}

void resolve_root(Experiment& out, const ConfigTable& root, const std::string& name) {
  const Parameters& p = take(out, root, run_parameters(name),
                             {"model", "device", "clock", "workload", "sampling", "policy", "output"});
  out.name = p.text("name");
  if (!is_plain_name(out.name)) {
    root.fail("name",
              fmt::format("must consist of letters, digits, '.', '_' and '-' and not begin with a '.'; "
                          "found '{}'",
                          out.name));
  }
  out.seed = static_cast<std::uint64_t>(p.integer("seed"));
}

ModelChoice resolve_model(Experiment& out, const ConfigTable& table) {
  const Parameters& p = take(out, table, model_parameters());
  const bool is_path = !p.text("path").empty();
  if (is_path == !p.text("shape").empty()) {
    table.fail("shape",
               is_path ? "and 'model.path' are both set; set one of them"
                       : "is missing, and so is 'model.path'; set one of them, such as shape = \"opt-125m\"");
  }
  ModelChoice choice{.location = p.text(is_path ? "path" : "shape"), .is_path = is_path, .dtype = {}};
  if (p.text("dtype") != "auto") {
    choice.dtype = dtype_named(p.text("dtype"));
  }
  return choice;
}

DeviceChoice resolve_device(Experiment& out, const ConfigTable& table) {
  const KindChoice choice = take_kind(out, table, device_parameters(), "what executes the steps");
  const Parameters& p = choice.parameters;
  for (const char* blocks : {"device_blocks", "host_blocks"}) {
    if (p.integer(blocks) > kMostSlots / p.integer("block_size")) {
      table.fail(blocks,
                 fmt::format("is {}; at {} tokens a block at most {} can be addressed", p.integer(blocks),
                             p.integer("block_size"), kMostSlots / p.integer("block_size")));
    }
  }
  DeviceChoice device{.kind = choice.kind,
                      .block_size = Tokens(p.integer("block_size")),
                      .device_blocks = Blocks(p.integer("device_blocks")),
                      .host_blocks = Blocks(p.integer("host_blocks")),
                      .kv_dtype = dtype_named(p.text("kv_dtype"))};
  if (p.has("threads")) {
    device.threads = static_cast<std::int32_t>(p.integer("threads"));
    device.map_kv = p.flag("map_kv");
  }
  if (p.has("swap")) {
    device.swap = p.text("swap") == "batched" ? kernels::SwapMode::batched : kernels::SwapMode::per_block;
    device.graphs = p.flag("graphs");
  }
  if (p.has("vocabulary")) {
    device.vocabulary = static_cast<std::int32_t>(p.integer("vocabulary"));
  }
  if (choice.kind == "sim") {
    device.sim = sim_choice(p);
  }
  return device;
}

std::optional<StepCost> resolve_clock(Experiment& out, const ConfigTable& table) {
  const KindChoice choice = take_kind(out, table, clock_kinds(), "how time passes");
  return choice.kind == "real" ? std::nullopt : std::optional(step_cost(choice.parameters));
}

Sampling resolve_sampling(const ConfigTable& table, const Parameters& p) {
  Sampling sampling;
  sampling.method = sampling_method(p.text("method"));
  sampling.n = static_cast<std::int32_t>(p.integer("n"));
  sampling.temperature = static_cast<float>(p.real("temperature"));
  sampling.top_k = static_cast<std::int32_t>(p.integer("top_k"));
  sampling.top_p = static_cast<float>(p.real("top_p"));
  sampling.length_penalty = static_cast<float>(p.real("length_penalty"));
  if (p.integer("eos") >= 0) {
    sampling.eos = static_cast<TokenId>(p.integer("eos"));
  }
  if (sampling.method == Sampling::Method::greedy && sampling.n != 1) {
    table.fail("n", fmt::format("must be 1 with method = \"greedy\", whose samples are all alike; found {}",
                                sampling.n));
  }
  return sampling;
}

/// [workload.clients], [workload.priorities] and [workload.deadlines].
void resolve_marks(Experiment& out, const ConfigTable& workload, WorkloadSpec& spec) {
  const auto trace_says = [&spec](const std::string& column) {
    const Parameters& lengths = spec.lengths.parameters;
    return lengths.has(column) && !lengths.text(column).empty() ? "the trace's " + column : std::string();
  };
  const std::string clients =
      spec.arrivals.kind == "closed_loop" ? "arrivals of kind 'closed_loop'" : trace_says("client_column");
  const ConfigTable client = workload.section("clients");
  resolve_clients(spec.marks, client, take(out, client, client_parameters()), clients);
  const ConfigTable priority = workload.section("priorities");
  resolve_priorities(spec.marks, priority, take(out, priority, priority_parameters()),
                     trace_says("priority_column"));
  const ConfigTable deadline = workload.section("deadlines");
  resolve_deadlines(spec.marks, deadline, take(out, deadline, deadline_parameters()),
                    trace_says("deadline_column"));
}

WorkloadSpec resolve_workload(Experiment& out, const ConfigTable& workload, const ConfigTable& sampling) {
  WorkloadSpec spec;
  const Parameters& own = take(out, workload, workload_parameters(), workload_sections());
  spec.requests = own.integer("requests");
  spec.duration = Seconds(own.real("duration_s"));
  spec.prefix = Tokens(own.integer("prefix_tokens"));
  spec.lengths = take_kind(out, workload.section("lengths"), length_kinds(), "where lengths come from");
  spec.arrivals = take_kind(out, workload.section("arrivals"), arrival_kinds(), "when requests arrive");
  resolve_marks(out, workload, spec);
  if (!has_end(spec)) {
    workload.fail(
        "requests",
        fmt::format(
            "must be at least 1 with lengths of kind '{}', which have no end, {}", spec.lengths.kind,
            spec.duration > Seconds(0)
                ? fmt::format("and arrivals of kind '{}', which duration_s does not end", spec.arrivals.kind)
                : "or else duration_s must be given"));
  }
  const Parameters& p = take(out, sampling, sampling_parameters());
  spec.sampling = resolve_sampling(sampling, p);
  spec.share = p.real("share");
  spec.forced_output = p.flag("forced_output");
  return spec;
}

/// The parameters of one axis: the policy's name, then what that policy declares.
PolicyChoice resolve_policy(Experiment& out, const ConfigTable& table,
                            const PolicyRegistry::AxisEntry& axis) {
  std::vector<ParameterSpec> specs = {
      {.name = "name", .default_value = std::string(axis.standard), .help = std::string(axis.question)}};
  for (const PolicyEntry& policy : axis.policies) {
    specs.front().choices.push_back(policy.info.name);
  }
  const std::string name = table.text(specs.front());
  const PolicyInfo& info =
      std::ranges::find(axis.policies, name, [](const PolicyEntry& p) { return p.info.name; })->info;
  specs.insert(specs.end(), info.parameters.begin(), info.parameters.end());
  return {std::string(axis.name), name, info.needs, take(out, table, specs), info.plugin};
}

void resolve_policies(Experiment& out, const ConfigTable& table, const PolicyRegistry& registry) {
  std::vector<std::string> axes;
  for (const PolicyRegistry::AxisEntry& axis : registry.axes()) {
    axes.emplace_back(axis.name);
  }
  table.resolve({}, axes);
  for (const PolicyRegistry::AxisEntry& axis : registry.axes()) {
    out.policies.push_back(resolve_policy(out, table.section(axis.name), axis));
  }
}

/// The run folder's default name: the file's, with what a folder should not be called by replaced.
std::string name_from(const std::filesystem::path& file) {
  std::string name = file.stem().string();
  for (char& letter : name) {
    if (!is_plain_name(std::string("x") + letter)) {
      letter = '-';
    }
  }
  return is_plain_name(name) ? name : "experiment";
}

/// A path as written into a file in `folder`.
std::string path_from(const std::string& path, const std::filesystem::path& folder) {
  if (path.empty()) {
    return path;
  }
  const auto to = std::filesystem::weakly_canonical(std::filesystem::absolute(path));
  const auto from = std::filesystem::weakly_canonical(std::filesystem::absolute(folder));
  const bool apart = std::next(to.begin()) == to.end() || std::next(from.begin()) == from.end() ||
                     *std::next(to.begin()) != *std::next(from.begin());
  return apart ? to.string() : to.lexically_relative(from).string();
}

/// A parameter's value as it is written into a file in `folder`.
std::string value_text(const Parameters::Entry& entry, const std::filesystem::path& folder) {
  ParameterValue value = entry.value;
  if (auto* path = std::get_if<std::string>(&value); path != nullptr && entry.spec.path) {
    *path = path_from(*path, folder);
  } else if (auto* paths = std::get_if<TextList>(&value); paths != nullptr && entry.spec.path) {
    std::ranges::transform(*paths, paths->begin(), [&](const auto& file) { return path_from(file, folder); });
  }
  return toml_text(value);
}

std::string comment(const ParameterSpec& spec) {
  std::string text = spec.unit.empty() ? spec.help : fmt::format("{}; {}", spec.unit, spec.help);
  if (!spec.choices.empty() && spec.choices.size() < 8) {
    text += fmt::format(" ({})", fmt::join(spec.choices, ", "));
  }
  std::ranges::replace_if(
      text, [](char c) { return static_cast<unsigned char>(c) < 0x20; }, ' ');
  return text;
}

}  // namespace

Experiment resolve_experiment(const ConfigTable& root, const std::string& name,
                              const PolicyRegistry& registry, const TextList& plugins) {
  Experiment out;
  resolve_root(out, root, name);
  const PolicyRegistry all = resolve_plugins(out, root, registry, plugins);
  out.model = resolve_model(out, root.section("model"));
  out.device = resolve_device(out, root.section("device"));
  out.step_cost = resolve_clock(out, root.section("clock"));
  out.workload = resolve_workload(out, root.section("workload"), root.section("sampling"));
  if (out.device.sim && out.workload.sampling.eos && !out.workload.forced_output) {
    root.section("sampling")
        .fail("forced_output", "must be true with an 'eos' on a device of kind 'sim', which draws no tokens");
  }
  resolve_policies(out, root.section("policy"), all);
  const Parameters& output = take(out, root.section("output"), output_parameters());
  out.output = {.steps = output.flag("steps"),
                .requests = output.flag("requests"),
                .decisions = output.flag("decisions"),
                .trace = output.flag("trace"),
                .census = output.flag("census")};
  return out;
}

Experiment read_experiment(const std::filesystem::path& file, std::span<const std::string> overrides,
                           const PolicyRegistry& registry, const TextList& plugins) {
  return resolve_experiment(read_config(file, overrides), name_from(file), registry, plugins);
}

std::string experiment_toml(const Experiment& experiment, const std::filesystem::path& folder) {
  std::string text =
      "# Everything in force in this run, defaults included. Running this file gives the same run.\n";
  for (const Experiment::Section& section : experiment.sections) {
    text += section.path.empty() ? "\n" : fmt::format("\n[{}]\n", section.path);
    for (const Parameters::Entry& entry : section.parameters) {
      text +=
          fmt::format("{:<32}  # {}\n", fmt::format("{} = {}", entry.spec.name, value_text(entry, folder)),
                      comment(entry.spec));
    }
  }
  return text;
}

PolicySet make_policies(const Experiment& experiment, const PolicyRegistry& registry) {
  const PolicyRegistry all = with_plugins(registry, experiment.plugins);
  const auto make = [&]<class Policy>(PolicySet::Choice<Policy>& out) {
    const auto choice = std::ranges::find(experiment.policies, Axis<Policy>::name, &PolicyChoice::axis);
    PAGELAB_INVARIANT(choice != experiment.policies.end(), std::string(Axis<Policy>::name));
    try {
      out = {choice->name, all.make<Policy>(choice->name, choice->parameters)};
    } catch (const InputError&) {
      throw;
    } catch (const std::exception& error) {
      throw InputError(
          fmt::format("policy {}/{} cannot be made: {}", choice->axis, choice->name, error.what()));
    }
  };
  PolicySet set;
  set.for_each(make);
  return set;
}

}  // namespace pagelab
