#include "models/device_description.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>
#include <variant>
#include <vector>

#include <fmt/format.h>

namespace pagelab {
namespace {

/// A key of the file and where its value lives.
struct Field {
  ParameterSpec spec;
  std::variant<bool*, double*, RealList*, std::string*> value;
};

/// A section of the file. Lists of one group belong together: the first of it is the x of the others.
struct Section {
  std::string name;  ///< empty: the keys before the first section
  std::vector<Field> fields;
  std::vector<std::vector<std::string>> groups;
  bool optional = false;  ///< the section may be missing, which leaves its lists, its only fields, empty
};

Field text(std::string name, std::string& value, std::string help) {
  return {
      {.name = std::move(name), .default_value = std::string(), .help = std::move(help), .required = true},
      &value};
}

/// A number above 0 that must be given.
Field rate(std::string name, double& value, std::string unit, std::string help) {
  return {{.name = std::move(name),
           .default_value = 1.0,
           .unit = std::move(unit),
           .help = std::move(help),
           .above = 0,
           .required = true},
          &value};
}

/// A time of at least 0 that must be given.
Field cost(std::string name, double& value, std::string help) {
  return {{.name = std::move(name),
           .default_value = 0.0,
           .unit = "s",
           .help = std::move(help),
           .minimum = 0,
           .required = true},
          &value};
}

/// A time that is 0 unless given.
Field extra_cost(std::string name, double& value, std::string help) {
  Field field = cost(std::move(name), value, std::move(help));
  field.spec.required = false;
  return field;
}

/// A property that is absent unless given.
Field flag(std::string name, bool& value, std::string help) {
  return {{.name = std::move(name), .default_value = false, .help = std::move(help)}, &value};
}

Field list(std::string name, RealList& value, std::string unit, std::string help) {
  return {{.name = std::move(name),
           .default_value = RealList{},
           .unit = std::move(unit),
           .help = std::move(help),
           .above = 0,
           .required = true},
          &value};
}

/// A list whose numbers may be 0.
Field costs(std::string name, RealList& value, std::string help) {
  Field field = list(std::move(name), value, "s", std::move(help));
  field.spec.above.reset();
  field.spec.minimum = 0;
  return field;
}

Section gemm_section(DeviceDescription::Gemm& d) {
  Field overlap = rate("overlap", d.overlap, "", "p: 1 adds computing and traffic, more lets them overlap");
  overlap.spec.above.reset();
  overlap.spec.minimum = 1;
  overlap.spec.maximum = 1000;
  return {"gemm",
          {cost("launch_s", d.launch_s, "of each matrix product"), std::move(overlap),
           rate("peak_flops", d.peak_flops, "FLOP/s", "of a product bound by computing"),
           rate("bandwidth", d.bandwidth, "bytes/s", "of a product bound by memory"),
           list("compute_rows", d.compute.x, "rows", "of the left matrix"),
           list("compute_efficiency", d.compute.y, "", "share of peak_flops reached with so many rows"),
           list("traffic_bytes", d.traffic.x, "bytes", "of the weights"),
           list("traffic_efficiency", d.traffic.y, "", "share of bandwidth reached with so many bytes")},
          {{"compute_rows", "compute_efficiency"}, {"traffic_bytes", "traffic_efficiency"}}};
}

Section prefill_section(DeviceDescription::PrefillAttention& d) {
  return {"prefill_attention",
          {cost("launch_s", d.launch_s, "of each layer's call"),
           extra_cost("longest_s", d.longest_s, "of each token of the longest context in a call"),
           extra_cost("sequence_s", d.sequence_s, "of each chunk in a call"),
           rate("peak_flops", d.peak_flops, "FLOP/s", "of causal attention, masked pairs not counted"),
           rate("bandwidth", d.bandwidth, "bytes/s", "at which the context's K and V are read"),
           list("tokens", d.efficiency.x, "tokens", "of a chunk"),
           list("efficiency", d.efficiency.y, "", "share of peak_flops reached with so many tokens")},
          {{"tokens", "efficiency"}}};
}

Section decode_section(DeviceDescription::DecodeAttention& d) {
  return {"decode_attention",
          {rate("bandwidth", d.bandwidth, "bytes/s", "at which K and V are read"),
           extra_cost("head_s", d.head_s, "of each sequence and KV head, at least"),
           list("kv_bytes", d.efficiency.x, "bytes", "of K and V that a call reads"),
           list("efficiency", d.efficiency.y, "", "share of bandwidth reached with so many bytes"),
           list("block_sizes", d.block_factor.x, "tokens", "of a KV block"),
           list("block_factor", d.block_factor.y, "", "time with such blocks over time with 16 tokens"),
           list("group_sizes", d.group_sizes, "heads", "query heads per KV head"),
           costs("launch_s", d.launch_s, "of each layer's call, by group size"),
           costs("longest_s", d.longest_s, "of each token of the longest context, at least, by group size")},
          {{"kv_bytes", "efficiency"},
           {"block_sizes", "block_factor"},
           {"group_sizes", "launch_s", "longest_s"}}};
}

Section all_reduce_section(DeviceDescription::AllReduce& d) {
  return {"all_reduce",
          {list("gpus", d.gpus, "devices", "the degrees of tensor parallelism that are known"),
           costs("latency_s", d.latency_s, "of a message of no length"),
           costs("served_s", d.served_s, "longer between the layers of a model than alone"),
           list("bandwidth", d.bandwidth, "bytes/s", "message bytes over the rest of its time"),
           list("message_bytes", d.efficiency.x, "bytes", "of a message"),
           list("efficiency", d.efficiency.y, "", "share of bandwidth reached with so many bytes")},
          {{"gpus", "latency_s", "served_s", "bandwidth"}, {"message_bytes", "efficiency"}},
          true};
}

Section swap_section(std::string name, DeviceDescription::Swap& d) {
  return {std::move(name),
          {cost("copy_s", d.copy_s, "of each copy: one of K and one of V per block and layer"),
           rate("bandwidth", d.bandwidth, "bytes/s", "of the link")},
          {}};
}

/// The one declaration of the file: the reader assigns through it, the writer prints it.
std::vector<Section> sections_of(DeviceDescription& d) {
  return {{"",
           {text("name", d.name, "of the device"), text("source", d.source, "what it was fitted on"),
            rate("memory_gib", d.memory_gib, "GiB", "usable memory of one device")},
           {}},
          gemm_section(d.gemm),
          prefill_section(d.prefill_attention),
          decode_section(d.decode_attention),
          {"elementwise",
           {cost("launch_s", d.elementwise.launch_s, "of each operator"),
            rate("bandwidth", d.elementwise.bandwidth, "bytes/s", "over bytes read and written")},
           {}},
          {"sampling",
           {cost("launch_s", d.sampling.launch_s, "of each step"),
            extra_cost("row_s", d.sampling.row_s, "of each row"),
            rate("bandwidth", d.sampling.bandwidth, "bytes/s", "over 4 bytes per logit")},
           {}},
          all_reduce_section(d.all_reduce),
          swap_section("swap_out", d.swap_out),
          swap_section("swap_in", d.swap_in),
          {"step",
           {extra_cost("fixed_s", d.step.fixed_s, "of each step, beside the operators above"),
            extra_cost("token_s", d.step.token_s, "of each token, beside the operators above"),
            flag("trims_last_layer", d.step.trims_last_layer,
                 "whether the last layer's products behind attention run over the sampled rows only")},
           {}}};
}

/// The lists of a group are equally long, and the first one grows.
void check_group(const ConfigTable& table, const Parameters& p, const std::vector<std::string>& group) {
  const RealList& x = p.reals(group.front());
  if (x.empty()) {
    table.fail(group.front(), "must have at least one number");
  }
  const auto stays = std::ranges::adjacent_find(x, std::greater_equal<>());
  if (stays != x.end()) {
    table.fail(group.front(), fmt::format("must grow from number to number; {} does not after {}",
                                          *std::next(stays), *stays));
  }
  for (const std::string& name : group) {
    if (p.reals(name).size() != x.size()) {
      table.fail(name,
                 fmt::format("has {} numbers; '{}' has {}", p.reals(name).size(), group.front(), x.size()));
    }
  }
}

struct Assign {
  const Parameters& parameters;
  const std::string& name;
  void operator()(bool* value) const { *value = parameters.flag(name); }
  void operator()(double* value) const { *value = parameters.real(name); }
  void operator()(RealList* value) const { *value = parameters.reals(name); }
  void operator()(std::string* value) const { *value = parameters.text(name); }
};

}  // namespace

double Curve::at(double value) const {
  const auto above = std::ranges::upper_bound(x, value);
  if (above == x.begin()) {
    return y.front();
  }
  if (above == x.end()) {
    return y.back();
  }
  const auto i = static_cast<std::size_t>(above - x.begin());
  const double share = std::log(value / x[i - 1]) / std::log(x[i] / x[i - 1]);
  return y[i - 1] + share * (y[i] - y[i - 1]);
}

DeviceDescription resolve_device_description(const ConfigTable& root) {
  DeviceDescription out;
  const std::vector<Section> sections = sections_of(out);
  std::vector<std::string> names;
  for (const Section& section : sections) {
    if (!section.name.empty()) {
      names.push_back(section.name);
    }
  }
  for (const Section& section : sections) {
    const bool is_root = section.name.empty();
    if (section.optional && !root.has(section.name)) {
      continue;
    }
    const ConfigTable table = is_root ? root : root.section(section.name);
    std::vector<ParameterSpec> specs;
    for (const Field& field : section.fields) {
      specs.push_back(field.spec);
    }
    const Parameters p = table.resolve(specs, is_root ? names : std::vector<std::string>());
    for (const auto& group : section.groups) {
      check_group(table, p, group);
    }
    for (const Field& field : section.fields) {
      std::visit(Assign{p, field.spec.name}, field.value);
    }
  }
  return out;
}

DeviceDescription read_device_description(const std::filesystem::path& file) {
  return resolve_device_description(read_config(file));
}

std::string device_description_toml(DeviceDescription description) {
  std::string out;
  for (const Section& section : sections_of(description)) {
    if (section.optional && std::get<RealList*>(section.fields.front().value)->empty()) {
      continue;
    }
    out += section.name.empty() ? "" : fmt::format("\n[{}]\n", section.name);
    for (const Field& field : section.fields) {
      const std::string value =
          std::visit([](const auto* held) { return toml_text(ParameterValue(*held)); }, field.value);
      const std::string unit = field.spec.unit.empty() ? "" : field.spec.unit + "; ";
      out += fmt::format("{:<32}  # {}{}\n", fmt::format("{} = {}", field.spec.name, value), unit,
                         field.spec.help);
    }
  }
  return out;
}

}  // namespace pagelab
