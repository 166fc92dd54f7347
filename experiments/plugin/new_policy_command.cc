#include "experiments/plugin/new_policy_command.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>

#include <fmt/format.h>

#include "core/error.h"
#include "core/policy_registry.h"
#include "experiments/output_file.h"
#include "policies/builtin.h"

namespace pagelab {

namespace {

namespace fs = std::filesystem;

/// Names that CMake keeps for targets of its own.
constexpr std::array<std::string_view, 10> reserved = {"all",           "clean",  "depend",  "edit_cache",
                                                       "help",          "test",   "install", "package_source",
                                                       "rebuild_cache", "package"};

void check_name(const std::string& axis, const std::string& name) {
  constexpr std::string_view letters = "abcdefghijklmnopqrstuvwxyz0123456789_";
  if (name.empty() || name.size() > 60 || name.find_first_not_of(letters) != std::string::npos ||
      std::isalpha(static_cast<unsigned char>(name.front())) == 0) {
    throw InputError(
        fmt::format("'{}' cannot be the name of a policy: it begins with a small letter and goes on with "
                    "small letters, digits and '_', 60 at most",
                    name));
  }
  if (std::ranges::find(reserved, name) != reserved.end()) {
    throw InputError(
        fmt::format("'{}' cannot be the name of a plugin: CMake has a target of that name", name));
  }
  PolicyRegistry registry;
  register_builtin_policies(registry);
  for (const PolicyEntry& policy : registry.axis(axis).policies) {
    if (policy.info.name == name) {
      throw InputError(fmt::format("policy {}/{} is built in; choose another name", axis, name));
    }
  }
}

/// The template of that name; of policy.REST the axis's own, AXIS.REST, if there is one.
std::string_view template_for(const std::string& axis, const std::string& name) {
  constexpr std::string_view general = "policy.";
  const std::string own = name.starts_with(general) ? axis + name.substr(general.size() - 1) : name;
  const auto named = [](const std::string& file) {
    return std::ranges::find(policy_templates(), file, &PolicyTemplate::name);
  };
  const auto found = named(own) != policy_templates().end() ? named(own) : named(name);
  if (found == policy_templates().end()) {
    throw InputError(fmt::format("there is no template of a policy of the axis '{}'", axis));
  }
  return found->text;
}

/// "shortest_prompt" as "ShortestPrompt".
std::string class_name(const std::string& name) {
  std::string text;
  bool start = true;
  for (const char letter : name) {
    if (letter != '_') {
      text += start ? static_cast<char>(std::toupper(static_cast<unsigned char>(letter))) : letter;
    }
    start = letter == '_';
  }
  return text;
}

std::string filled_in(std::string_view text, const NewPolicyOptions& options) {
  const std::array<std::pair<std::string_view, std::string>, 3> words = {
      {{"{{axis}}", options.axis}, {"{{name}}", options.name}, {"{{Name}}", class_name(options.name)}}};
  std::string out(text);
  for (const auto& [word, value] : words) {
    for (std::size_t at = out.find(word); at != std::string::npos; at = out.find(word, at + value.size())) {
      out.replace(at, word.size(), value);
    }
  }
  return out;
}

}  // namespace

std::string new_policy(const NewPolicyOptions& options) {
  check_name(options.axis, options.name);
  const std::array<std::pair<std::string, std::string>, 6> files = {{{options.name + ".cc", "policy.cc"},
                                                                     {"CMakeLists.txt", "CMakeLists.txt"},
                                                                     {options.name + ".toml", "policy.toml"},
                                                                     {"test.cmake", "test.cmake"},
                                                                     {"README.md", "README.md"},
                                                                     {"a100-40gb.toml", "a100-40gb.toml"}}};
  for (const auto& [file, text] : files) {
    template_for(options.axis, text);
    if (fs::exists(fs::symlink_status(options.folder / file))) {
      throw InputError(
          fmt::format("{} is there already; nothing was written", (options.folder / file).string()));
    }
  }
  std::error_code error;
  fs::create_directories(options.folder, error);
  if (error) {
    throw OutputError(fmt::format("cannot create {}: {}", options.folder.string(), error.message()));
  }
  std::string text = fmt::format("{} policy '{}':\n", options.axis, options.name);
  for (const auto& [file, from] : files) {
    write_file(options.folder / file, filled_in(template_for(options.axis, from), options));
    text += fmt::format("  {}\n", (options.folder / file).string());
  }
  return text + fmt::format(
                    "build it and test it:\n"
                    "  cmake -G Ninja -S {0} -B {0}/build && cmake --build {0}/build && ctest --test-dir "
                    "{0}/build\n",
                    options.folder.string());
}

}  // namespace pagelab
