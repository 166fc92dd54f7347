// The policies that come with pagelab. The list is that of policies/CMakeLists.txt.
#pragma once

#include "core/policy_registry.h"

namespace pagelab {

/// Adds every built-in policy to the registry.
void register_builtin_policies(PolicyRegistry& registry);

}  // namespace pagelab
