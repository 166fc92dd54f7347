// `pagelab check-policy AXIS/NAME`: the conformance kit. Prints what was covered, or what the policy did
// wrong and the smallest experiment that shows it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "core/policy_registry.h"
#include "experiments/check/check_policy.h"

namespace pagelab {

struct CheckCommandOptions {
  std::string which;                  ///< AXIS/NAME
  std::vector<std::string> settings;  ///< "KEY=VALUE" of the policy, or "policy.AXIS.KEY=VALUE"
  std::int64_t cases = 2000;
  std::uint64_t seed = 1;
  std::vector<std::string> plugins;  ///< files of policies
  std::filesystem::path out;         ///< the experiment of a failure; empty: it is printed
};

/// Reads AXIS/NAME and settings. Throws InputError that says what is valid.
CheckedChoice checked_choice(const PolicyRegistry& registry, const std::string& which,
                             const std::vector<std::string>& settings);

/// The report as text: what was covered, and if something is wrong what, where and what to do next. `out` is
/// where the experiment has been written to; empty: it is part of the text.
std::string report_text(const CheckCommandOptions& options, const CheckReport& report);

/// Checks and prints to stdout. Returns the exit code: 0, or 1 if the policy failed. Throws InputError,
/// OutputError.
int check_command(const PolicyRegistry& registry, const CheckCommandOptions& options);

}  // namespace pagelab
