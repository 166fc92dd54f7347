// `pagelab new-policy`: writes a plugin that builds and runs at once: a policy of the axis, what builds it,
// an experiment that uses it, a test that runs that, and a page that says how. The files are made from
// experiments/plugin/templates/, whose text is part of the program: AXIS.cc is the policy of each axis, and
// AXIS.toml its experiment where policy.toml is not the right one.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace pagelab {

struct NewPolicyOptions {
  std::string axis, name;
  std::filesystem::path folder;
};

/// Writes the files and returns what to do next. Throws InputError for an unknown axis, a name that is taken
/// or cannot be one, and a file that is there already (then nothing is written), and OutputError if a file
/// cannot be written.
std::string new_policy(const NewPolicyOptions& options);

/// A file of experiments/plugin/templates/, without ".in".
struct PolicyTemplate {
  std::string_view name;
  std::string_view text;  ///< {{axis}}, {{name}} and {{Name}} stand for the policy's axis, name, and class
};
const std::vector<PolicyTemplate>& policy_templates();

}  // namespace pagelab
