// Plugin: a shared library of policies that was built outside of this program (core/plugin.h), loaded and
// checked. It owns the library, which stays loaded as long as the object lives: a Plugin must outlive every
// registry that its policies were added to and every policy made from them. Experiment holds those of a run.
// Nothing of a plugin is visible to another one or to the program but what it registers.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/plugin_abi.h"
#include "core/policy_registry.h"

namespace pagelab {

class Plugin {
 public:
  /// Loads the library, compares its record with this program's, and lets it register its policies. Throws
  /// InputError that names the file and what is wrong with it.
  explicit Plugin(const std::filesystem::path& file);
  ~Plugin();
  Plugin(const Plugin&) = delete;
  Plugin& operator=(const Plugin&) = delete;

  const std::filesystem::path& file() const { return file_; }
  const std::string& hash() const { return hash_; }  ///< of its content (file_hash.h)
  /// What it was built with.
  const PluginAbi& abi() const { return abi_; }
  /// Its policies alone.
  const PolicyRegistry& policies() const { return policies_; }
  /// Throws InputError if a name is taken; then nothing is added.
  void add_to(PolicyRegistry& registry) const;

 private:
  struct Library;

  std::filesystem::path file_;
  std::string hash_;
  std::unique_ptr<Library> library_;
  PluginAbi abi_;
  PolicyRegistry policies_;  ///< behind library_: its code is there
};

using Plugins = std::vector<std::shared_ptr<const Plugin>>;

/// Loads the files in order; one that is there already is not loaded again. Throws InputError.
void load_plugins(const std::vector<std::string>& files, Plugins& into);

/// A copy of `registry` with the policies of all plugins. Throws InputError if a name is taken.
PolicyRegistry with_plugins(const PolicyRegistry& registry, const Plugins& plugins);

/// This program's own record.
const PluginAbi& program_abi();

}  // namespace pagelab
