// Policies that are bad on purpose: some break their contract, each in one way, and must be caught by name;
// some keep it and are only slow, and metrics must show that. For tests only.
#pragma once

#include <string_view>

#include "core/policy_registry.h"

namespace pagelab::testing {

/// Registers the one of that name, such as "bad_thrash".
void register_bad_policy(PolicyRegistry& registry, std::string_view name);

}  // namespace pagelab::testing
