#include "core/policy_registry.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/error.h"

namespace pagelab {

namespace {

template <class Policy>
PolicyRegistry::AxisEntry entry_of() {
  return {Axis<Policy>::name, Axis<Policy>::question, Axis<Policy>::standard, {}};
}

bool is_plain_name(std::string_view name) {
  constexpr std::string_view letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
  return !name.empty() && name.find_first_not_of(letters) == std::string_view::npos;
}

/// Whether a policy is declared so that the program can use it.
void check_declaration(std::string_view axis, const PolicyInfo& info) {
  const auto require = [&](bool holds, const std::string& rule) {
    if (!holds) {
      throw InputError(fmt::format("policy {}/{}: {}", axis, info.name, rule));
    }
  };
  require(is_plain_name(info.name), "a name consists of letters, digits, '_' and '-'");
  for (auto spec = info.parameters.begin(); spec != info.parameters.end(); ++spec) {
    const std::string& name = spec->name;
    require(is_plain_name(name),
            fmt::format("parameter '{}': a name consists of letters, digits, '_' and '-'", name));
    require(name != "name", "no parameter may be called 'name', which chooses the policy");
    require(
        std::none_of(info.parameters.begin(), spec, [&](const ParameterSpec& s) { return s.name == name; }),
        fmt::format("parameter '{}' is declared twice", name));
    require(spec->required || is_valid(*spec, spec->default_value),
            fmt::format("the default of parameter '{}' is not {}", name, domain_text(*spec)));
  }
}

/// `ownerless`: what to say of a name taken by a policy that is of no plugin.
void check_free(const PolicyRegistry::AxisEntry& axis, const std::string& name,
                const std::string& ownerless) {
  for (const PolicyEntry& other : axis.policies) {
    if (other.info.name == name) {
      const std::string& plugin = other.info.plugin;
      throw InputError(fmt::format("policy {}/{} {}; each needs a name of its own", axis.name, name,
                                   plugin.empty() ? ownerless : "is in plugin " + plugin + " already"));
    }
  }
}

}  // namespace

PolicyRegistry::PolicyRegistry()
    : axes_{entry_of<SchedulingPolicy>(), entry_of<BatchingPolicy>(), entry_of<AllocationPolicy>(),
            entry_of<PreemptionPolicy>(), entry_of<SharingPolicy>(),  entry_of<EvictionPolicy>(),
            entry_of<RetentionPolicy>()} {}

void PolicyRegistry::add(std::string_view axis_name, PolicyEntry entry) {
  const auto axis =
      std::find_if(axes_.begin(), axes_.end(), [&](const AxisEntry& a) { return a.name == axis_name; });
  check_declaration(axis_name, entry.info);
  check_free(*axis, entry.info.name, "is registered twice");
  axis->policies.push_back(std::move(entry));
}

void PolicyRegistry::add_all(const PolicyRegistry& other, const std::string& plugin) {
  for (std::size_t axis = 0; axis < axes_.size(); ++axis) {
    for (const PolicyEntry& entry : other.axes_[axis].policies) {
      check_free(axes_[axis], entry.info.name, "is built in");
    }
  }
  for (std::size_t axis = 0; axis < axes_.size(); ++axis) {
    for (const PolicyEntry& entry : other.axes_[axis].policies) {
      axes_[axis].policies.push_back(entry);
      axes_[axis].policies.back().info.plugin = plugin;
    }
  }
}

const PolicyRegistry::AxisEntry& PolicyRegistry::axis(std::string_view name) const {
  std::vector<std::string> names;
  for (const AxisEntry& axis : axes_) {
    if (axis.name == name) {
      return axis;
    }
    names.emplace_back(axis.name);
  }
  throw InputError("axis " + unknown_text(name, "axes", names));
}

const PolicyEntry& PolicyRegistry::find(std::string_view axis_name, std::string_view name) const {
  std::vector<std::string> names;
  for (const PolicyEntry& entry : axis(axis_name).policies) {
    if (entry.info.name == name) {
      return entry;
    }
    names.push_back(entry.info.name);
  }
  throw InputError(fmt::format("{} policy {}", axis_name, unknown_text(name, "names", names)));
}

}  // namespace pagelab
