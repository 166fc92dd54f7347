#include "experiments/plugin/plugin.h"

#define BOOST_DLL_USE_STD_FS
#include <dlfcn.h>

#include <algorithm>
#include <boost/dll/shared_library.hpp>
#include <string_view>

#include <fmt/format.h>

#include "core/config.h"
#include "core/error.h"
#include "core/plugin.h"
#include "experiments/file_hash.h"

namespace pagelab {

namespace {

constexpr PluginAbi own_abi = plugin_abi();
constexpr const char* abi_name = "pagelab_plugin_abi";
constexpr const char* register_name = "pagelab_plugin_register";

[[noreturn]] void refuse(const std::filesystem::path& file, const std::string& why) {
  throw InputError(fmt::format("plugin {}: {}", file.string(), why));
}

/// A text of a record, which may lack its zero.
template <std::size_t n>
std::string_view text_of(const char (&field)[n]) {
  return {field, static_cast<std::size_t>(std::find(field, field + n, '\0') - field)};
}

/// The library's record; magic and size are looked at before anything behind them.
PluginAbi checked_abi(const std::filesystem::path& file, const PluginAbi& theirs) {
  if (text_of(theirs.magic) != PluginAbi::mark) {
    refuse(
        file,
        fmt::format("what it calls {} is no record of a plugin; write it with PAGELAB_PLUGIN (core/plugin.h)",
                    abi_name));
  }
  constexpr const char* again = "build it again with the CMake package that was installed with this pagelab";
  if (theirs.size != own_abi.size) {
    refuse(file,
           fmt::format("its record has {} bytes, this pagelab's {}: it was built for another version; {}",
                       theirs.size, own_abi.size, again));
  }
  const auto compare = [&](const char* what, std::string_view of_plugin, std::string_view of_program) {
    if (of_plugin != of_program) {
      refuse(file, fmt::format("it was built for {} {}, this is {}; {}", what, of_plugin, of_program, again));
    }
  };
  compare("pagelab", text_of(theirs.pagelab), text_of(own_abi.pagelab));
  compare("compiler", text_of(theirs.compiler), text_of(own_abi.compiler));
  compare("standard library", text_of(theirs.standard_library), text_of(own_abi.standard_library));
  compare("sanitizer", text_of(theirs.sanitizers), text_of(own_abi.sanitizers));
  compare("interface", text_of(theirs.interface_hash), text_of(own_abi.interface_hash));
  PluginAbi abi = theirs;
  abi.assertions[sizeof abi.assertions - 1] = '\0';  // all other texts are ours
  return abi;
}

/// Lets the library register its policies; what it throws is told as an error of the plugin.
PolicyRegistry registered(const std::filesystem::path& file, void (*register_policies)(PolicyRegistry&)) {
  PolicyRegistry registry;
  try {
    register_policies(registry);
  } catch (const InputError& error) {
    refuse(file, error.what());
  } catch (const std::exception& error) {
    refuse(file, fmt::format("its registration threw '{}'", error.what()));
  } catch (...) {
    refuse(file, "its registration threw what is no std::exception");
  }
  if (std::ranges::all_of(registry.axes(), [](const auto& axis) { return axis.policies.empty(); })) {
    refuse(file, "it registers no policy");
  }
  return registry;
}

}  // namespace

struct Plugin::Library {
  boost::dll::shared_library handle;

  explicit Library(const std::filesystem::path& file) {
    std::error_code error;
    handle.load(file, error, boost::dll::load_mode::rtld_now | boost::dll::load_mode::rtld_local);
    if (error) {
      const char* said = ::dlerror();
      const std::string why = said == nullptr ? error.message() : said;
      const bool unresolved = why.find("undefined symbol") != std::string::npos;
      refuse(file,
             fmt::format("it {}: {}",
                         unresolved ? "needs a function that nothing defines" : "cannot be loaded", why));
    }
  }
};

Plugin::Plugin(const std::filesystem::path& file)
    : file_(std::filesystem::absolute(file).lexically_normal()) {
  std::string content;
  try {
    content = read_text_file(file_);
  } catch (const InputError& error) {
    throw InputError(fmt::format("plugin {}", error.what()));
  }
  if (!content.starts_with("\x7f"
                           "ELF")) {
    refuse(file_, "it is no shared library");
  }
  hash_ = content_hash(content);
  library_ = std::make_unique<Library>(file_);
  const boost::dll::shared_library& library = library_->handle;
  for (const char* name : {abi_name, register_name}) {
    if (!library.has(name)) {
      refuse(file_, fmt::format("it is no plugin of pagelab: it exports no {}; write one with PAGELAB_PLUGIN "
                                "(core/plugin.h)",
                                name));
    }
  }
  abi_ = checked_abi(file_, library.get<const PluginAbi>(abi_name));
  policies_ = registered(file_, library.get<void(PolicyRegistry&)>(register_name));
}

Plugin::~Plugin() = default;

void Plugin::add_to(PolicyRegistry& registry) const {
  try {
    registry.add_all(policies_, file_.string());
  } catch (const InputError& error) {
    refuse(file_, error.what());
  }
}

void load_plugins(const std::vector<std::string>& files, Plugins& into) {
  for (const std::string& file : files) {
    const auto same = [&](const auto& plugin) {
      std::error_code error;
      return std::filesystem::equivalent(plugin->file(), file, error);
    };
    if (std::ranges::none_of(into, same)) {
      into.push_back(std::make_shared<const Plugin>(file));
    }
  }
}

PolicyRegistry with_plugins(const PolicyRegistry& registry, const Plugins& plugins) {
  PolicyRegistry all = registry;
  for (const auto& plugin : plugins) {
    plugin->add_to(all);
  }
  return all;
}

const PluginAbi& program_abi() {
  return own_abi;
}

}  // namespace pagelab
