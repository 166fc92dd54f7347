// ConfigDocument: the tree behind a ConfigTable, read from TOML. It parses a file, lays it over the files
// that its root key `include` names, lays documents over one another and applies overrides. Every node knows
// where it was written, so errors and relative paths stay those of the layer that a value comes from. It
// knows no declarations; core/config.cc checks the tree against them.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/parameters.h"

namespace pagelab {

/// A key of the document with its value, or a section with its children.
struct ConfigNode {
  std::string key;
  std::string place;                    ///< "FILE:LINE" or "--set KEY"
  std::filesystem::path folder;         ///< that relative paths written here are taken from
  std::string found;                    ///< what it is, for errors: "a text (\"abc\")", "a date (...)"
  std::optional<ParameterValue> value;  ///< none for a section, and for what no parameter can be
  bool is_section = false;
  std::vector<std::shared_ptr<ConfigNode>> children;  ///< of a section
  std::vector<std::shared_ptr<ConfigNode>> items;     ///< of a list of sections, [[a.b]]

  std::shared_ptr<ConfigNode> find(std::string_view name) const;
};

/// The root key that names the files below: a list of texts, paths from the folder of the file that says it.
inline constexpr std::string_view include_key = "include";

/// A document with what it includes below it; `name` is what errors call it and where its folder is from.
/// Throws InputError.
std::shared_ptr<ConfigNode> parse_document(std::string_view text, const std::string& name);

/// Lays `over` over `base`, whose nodes it changes: sections are merged, all else is replaced. Where both say
/// the `kind` (or, of a policy, the `name`) of a section and differ, the section is replaced whole, since its
/// other keys depend on that choice.
void lay_over(ConfigNode& base, const ConfigNode& over);

/// Sets what "a.b.c=VALUE" says. Throws InputError.
void apply_override(ConfigNode& root, const std::string& text);

}  // namespace pagelab
