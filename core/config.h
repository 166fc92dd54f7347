// Config: a TOML file and its overrides, read with types. A ConfigTable is a view of one section that is
// resolved against the declarations in core/parameters.h; what is not declared is an error, so nothing in a
// file goes unread as long as each section that a caller allows is resolved too.
//
// Documents come in layers. A file may begin with `include = ["base.toml", ...]`: those are read first, in
// order, paths taken from the folder of the including file, and a later layer wins key by key. Sections are
// merged and everything else is replaced; a section whose `kind` (or, below the root, `name`) a later layer
// changes is replaced whole, because its other keys depend on that choice. Overrides win over all files.
//
// Every error is an InputError that begins with the place ("FILE:LINE" or "--set KEY") and names the key and
// what is valid. A view shares the document that it looks into and stays valid on its own.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/parameters.h"

namespace pagelab {

struct ConfigNode;

/// One section ([a.b]) of a document; empty when the document does not have it.
class ConfigTable {
 public:
  /// A section that holds nothing.
  ConfigTable();

  /// Its path in the document, "workload.arrivals"; empty for the whole document.
  const std::string& path() const { return path_; }

  /// Reads every key of the section. Keys named in `sections` are left for section(); all others must be
  /// declared in `specs`. Texts that are paths come back absolute, relative ones taken from the folder of the
  /// file that wrote them (from the working directory for --set).
  Parameters resolve(const std::vector<ParameterSpec>& specs,
                     const std::vector<std::string>& sections = {}) const;
  /// One text key alone, whatever else the section holds: the `name` or `kind` on which the other keys
  /// depend.
  std::string text(const ParameterSpec& spec) const;
  ConfigTable section(std::string_view name) const;
  /// The sections of a list of them, [[a.b]], in order; none if the key is absent.
  std::vector<ConfigTable> list(std::string_view name) const;
  bool has(std::string_view key) const;
  /// The keys that are there, in no particular order.
  std::vector<std::string> keys() const;
  /// What a key that may have several types says; none if it is absent or what no parameter can be.
  std::optional<ParameterValue> written(std::string_view key) const;

  /// Throws InputError: place, "key 'PATH.KEY'", then `message`. For checks that involve several keys.
  [[noreturn]] void fail(std::string_view key, std::string_view message) const;

 private:
  friend ConfigTable read_config(std::span<const std::filesystem::path>, std::span<const std::string>);
  friend ConfigTable parse_config(std::string_view, const std::string&, std::span<const std::string>);
  ConfigTable(std::shared_ptr<const ConfigNode> node, std::string path)
      : node_(std::move(node)), path_(std::move(path)) {}

  const ConfigNode* child(std::string_view key) const;
  std::string full(std::string_view key) const;
  ParameterValue read(const ParameterSpec& spec) const;

  std::shared_ptr<const ConfigNode> node_;  ///< never null
  std::string path_;
};

/// Reads a TOML file and what it includes. Each override is "a.b.c=VALUE": VALUE is TOML, or else a plain
/// text. Throws InputError.
ConfigTable read_config(const std::filesystem::path& file, std::span<const std::string> overrides = {});

/// Reads several TOML files, each laid over those before it, and then the overrides. Throws InputError.
ConfigTable read_config(std::span<const std::filesystem::path> layers,
                        std::span<const std::string> overrides = {});

/// The same from `text`, which errors call `name`; relative paths are taken from the folder of `name`.
ConfigTable parse_config(std::string_view text, const std::string& name,
                         std::span<const std::string> overrides = {});

/// The whole content of a regular file. Throws InputError that names it.
std::string read_text_file(const std::filesystem::path& file);

}  // namespace pagelab
