// `pagelab policies`, `pagelab policies describe AXIS/NAME`, both with --plugin, and `pagelab models`: what
// there is to choose from, as text. Everything comes from registries and the table of shapes; nothing is
// listed twice by hand.
#pragma once

#include <string>
#include <string_view>

#include "core/policy_registry.h"
#include "experiments/plugin/plugin.h"

namespace pagelab {

/// Every axis with its question and its policies, the default marked.
std::string list_policies(const PolicyRegistry& registry);
/// One policy: summary, source, parameters with type, unit, default and range. `which` is "AXIS/NAME"; throws
/// InputError with what is valid.
std::string describe_policy(const PolicyRegistry& registry, std::string_view which);
/// All policies of the plugins, each as describe_policy() has it, and what the plugins were built with.
std::string describe_plugins(const Plugins& plugins);
/// The built-in model shapes with their sizes.
std::string list_models();

}  // namespace pagelab
