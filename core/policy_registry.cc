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

}  // namespace

PolicyRegistry::PolicyRegistry()
    : axes_{entry_of<SchedulingPolicy>(), entry_of<BatchingPolicy>(), entry_of<AllocationPolicy>(),
            entry_of<PreemptionPolicy>(), entry_of<SharingPolicy>(),  entry_of<EvictionPolicy>(),
            entry_of<RetentionPolicy>()} {}

void PolicyRegistry::add(std::string_view axis_name, PolicyEntry entry) {
  const auto axis =
      std::find_if(axes_.begin(), axes_.end(), [&](const AxisEntry& a) { return a.name == axis_name; });
  const auto& name = entry.info.name;
  for (const PolicyEntry& other : axis->policies) {
    PAGELAB_INVARIANT(other.info.name != name,
                      fmt::format("policy {}/{} is registered twice", axis_name, name));
  }
  axis->policies.push_back(std::move(entry));
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
