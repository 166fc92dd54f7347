// PolicyRegistry: policies by axis and name, with the parameters they declare. A registry is a plain object,
// filled by register_builtin_policies() (policies/) and, through the same calls, by plugins; there is no
// global one.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "core/error.h"
#include "core/eviction.h"
#include "core/parameters.h"
#include "core/policies.h"
#include "core/retention.h"

namespace pagelab {

/// What a policy says of itself.
struct PolicyInfo {
  std::string name{};
  std::string summary{};  ///< one line
  std::string source{};   ///< paper and section, or the system it is taken from
  std::string needs{};    ///< "oracle", "future": what no system can know; set by the registry
  /// A scheduling policy's promise that no request waits without end, whatever comes after it.
  bool bounds_waiting = false;
  std::vector<ParameterSpec> parameters{};
  std::string plugin{};  ///< the file that it comes from; empty: built in; set by whoever loads it
};

/// One axis: its name, the question it answers, and the name of the policy that is used when none is named.
template <class Policy>
struct Axis;
template <>
struct Axis<SchedulingPolicy> {
  static constexpr std::string_view name = "scheduling", standard = "fcfs";
  static constexpr std::string_view question =
      "in what order do waiting and running groups get the next step?";
};
template <>
struct Axis<BatchingPolicy> {
  static constexpr std::string_view name = "batching", standard = "mixed";
  static constexpr std::string_view question = "which tokens go into this step?";
};
template <>
struct Axis<AllocationPolicy> {
  static constexpr std::string_view name = "allocation", standard = "paged";
  static constexpr std::string_view question = "how does a sequence get slots?";
};
template <>
struct Axis<PreemptionPolicy> {
  static constexpr std::string_view name = "preemption", standard = "latest";
  static constexpr std::string_view question = "who gives way, and how does it come back?";
};
template <>
struct Axis<SharingPolicy> {
  static constexpr std::string_view name = "sharing", standard = "group";
  static constexpr std::string_view question = "which blocks may serve more than one sequence?";
};
template <>
struct Axis<EvictionPolicy> {
  static constexpr std::string_view name = "eviction", standard = "lru";
  static constexpr std::string_view question = "which cached block goes first?";
};

template <>
struct Axis<RetentionPolicy> {
  static constexpr std::string_view name = "retention", standard = "all";
  static constexpr std::string_view question = "which tokens of a sequence keep their KV?";
};

/// A registered policy: its description and how to make one. Exactly one alternative of `make` is its axis.
struct PolicyEntry {
  template <class Policy>
  using Factory = std::function<std::unique_ptr<Policy>(const Parameters&, const Future*)>;

  PolicyInfo info;
  std::variant<Factory<SchedulingPolicy>, Factory<BatchingPolicy>, Factory<AllocationPolicy>,
               Factory<PreemptionPolicy>, Factory<SharingPolicy>, Factory<EvictionPolicy>,
               Factory<RetentionPolicy>>
      make;
};

class PolicyRegistry {
 public:
  struct AxisEntry {
    std::string_view name, question, standard;
    std::vector<PolicyEntry> policies;  ///< in order of registration
  };

  /// Knows the axes and no policy.
  PolicyRegistry();

  /// Registers `Implementation`, made from its resolved parameters and an oracle or the future, from its
  /// parameters, or from nothing, whichever constructor it has, under the axis of its base class. Throws
  /// InputError if the name is taken or no plain name, or if a parameter is not declared as it must be.
  template <class Policy, class Implementation>
  void add(PolicyInfo info) {
    constexpr bool needs_oracle = std::is_constructible_v<Implementation, const Parameters&, const Oracle&>;
    constexpr bool needs_future = std::is_constructible_v<Implementation, const Parameters&, const Future&>;
    info.needs = needs_oracle ? "oracle" : needs_future ? "future" : "";
    add(Axis<Policy>::name,
        {std::move(info), PolicyEntry::Factory<Policy>([](const Parameters& parameters,
                                                          const Future* future) -> std::unique_ptr<Policy> {
           if constexpr (needs_oracle) {
             return std::make_unique<Implementation>(parameters, Oracle());
           } else if constexpr (needs_future) {
             return std::make_unique<Implementation>(parameters, *future);
           } else if constexpr (std::is_constructible_v<Implementation, const Parameters&>) {
             return std::make_unique<Implementation>(parameters);
           } else {
             return std::make_unique<Implementation>();
           }
         })});
  }

  /// Registers all that `other` holds, as of the plugin of that name. Throws InputError if a name is taken;
  /// then nothing is registered.
  void add_all(const PolicyRegistry& other, const std::string& plugin);

  const std::vector<AxisEntry>& axes() const { return axes_; }
  /// Throws InputError with the valid names and the nearest one.
  const AxisEntry& axis(std::string_view axis) const;
  const PolicyEntry& find(std::string_view axis, std::string_view name) const;

  /// Makes the policy `name` of Policy's axis. Throws InputError if there is none, or if it needs the future
  /// and there is none; the future, if given, must outlive the policy.
  template <class Policy>
  std::unique_ptr<Policy> make(std::string_view name, const Parameters& parameters,
                               const Future* future = nullptr) const {
    const PolicyEntry& entry = find(Axis<Policy>::name, name);
    if (entry.info.needs == "future" && future == nullptr) {
      throw InputError(std::string(Axis<Policy>::name) + " policy '" + std::string(name) +
                       "' needs the future, which no run has; `pagelab cache-sim` has the future of a trace");
    }
    return std::get<PolicyEntry::Factory<Policy>>(entry.make)(parameters, future);
  }

 private:
  void add(std::string_view axis, PolicyEntry entry);

  std::vector<AxisEntry> axes_;
};

/// The policies of one run, one per axis, with the names they go by in errors.
struct PolicySet {
  template <class Policy>
  struct Choice {
    std::string name{};
    std::unique_ptr<Policy> policy{};
    mutable std::int64_t asked = 0;  ///< questions that the scheduler put to it
    Policy* operator->() const { return policy.get(); }
    Policy& operator*() const { return *policy; }
  };
  Choice<SchedulingPolicy> scheduling;
  Choice<BatchingPolicy> batching;
  Choice<AllocationPolicy> allocation;
  Choice<PreemptionPolicy> preemption;
  Choice<SharingPolicy> sharing;
  Choice<EvictionPolicy> eviction;
  Choice<RetentionPolicy> retention;

  /// Calls `visit(choice)` for every axis, in the order of PolicyRegistry::axes().
  template <class Visit>
  void for_each(Visit&& visit) {
    visit(scheduling);
    visit(batching);
    visit(allocation);
    visit(preemption);
    visit(sharing);
    visit(eviction);
    visit(retention);
  }
  template <class Visit>
  void for_each(Visit&& visit) const {
    const_cast<PolicySet*>(this)->for_each([&](const auto& choice) { visit(choice); });
  }
};

}  // namespace pagelab
