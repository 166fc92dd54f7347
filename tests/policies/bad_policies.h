// Policies that are bad on purpose: some break their contract, each in one way, and must be caught by name;
// some keep it and are only slow, and metrics must show that. For tests only.
#pragma once

#include "core/policy_registry.h"

namespace pagelab::testing {

/// Registers all of them, by names that say what they do.
void register_bad_policies(PolicyRegistry& registry);

}  // namespace pagelab::testing
