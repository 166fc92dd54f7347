#include "core/config.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include "core/error.h"

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

  std::shared_ptr<ConfigNode> find(std::string_view name) const {
    const auto child =
        std::ranges::find(children, name, [](const auto& c) { return std::string_view(c->key); });
    return child == children.end() ? nullptr : *child;
  }
};

namespace {

using NodePointer = std::shared_ptr<ConfigNode>;

/// Where a document was written. Overrides have one line each, so they need no line number.
struct Origin {
  std::string name;
  std::filesystem::path folder;
  bool has_lines = true;

  std::string place(const toml::source_region& region) const {
    return has_lines && region.begin.line > 0 ? fmt::format("{}:{}", name, region.begin.line) : name;
  }
};

/// Sections deeper than this belong to no configuration; the limit keeps recursion bounded.
constexpr int kDeepest = 32;

std::optional<IntegerList> integer_list(const toml::array& array) {
  IntegerList list;
  for (const toml::node& item : array) {
    if (!item.is_integer()) {
      return std::nullopt;
    }
    list.push_back(**item.as_integer());
  }
  return list;
}

std::optional<ParameterValue> value_of(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::boolean:
      return **node.as_boolean();
    case toml::node_type::integer:
      return std::int64_t{**node.as_integer()};
    case toml::node_type::floating_point:
      return **node.as_floating_point();
    case toml::node_type::string:
      return **node.as_string();
    case toml::node_type::array:
      if (auto list = integer_list(*node.as_array())) {
        return *std::move(list);
      }
      return std::nullopt;
    default:
      return std::nullopt;
  }
}

std::string found_text(const toml::node& node, const std::optional<ParameterValue>& value) {
  if (node.is_table()) {
    return "a section";
  }
  if (node.is_array() && !value) {
    return "a list of other things than integers";
  }
  if (!value) {
    return "a date or time";
  }
  std::string text = toml_text(*value);
  if (text.size() > 60) {
    text = text.substr(0, 57) + "...";
  }
  return fmt::format("{} ({})", type_text(*value), text);
}

NodePointer convert(std::string key, const toml::node& node, const toml::source_region& region,
                    const Origin& origin, int depth) {
  auto out = std::make_shared<ConfigNode>();
  out->key = std::move(key);
  out->place = origin.place(region);
  out->folder = origin.folder;
  out->value = value_of(node);
  out->found = found_text(node, out->value);
  if (const toml::table* table = node.as_table()) {
    if (depth > kDeepest) {
      throw InputError(fmt::format("{}: sections nested more than {} deep", out->place, kDeepest));
    }
    out->is_section = true;
    for (const auto& [child_key, child] : *table) {
      out->children.push_back(
          convert(std::string(child_key.str()), child, child_key.source(), origin, depth + 1));
    }
  }
  return out;
}

toml::table parse_toml(std::string_view text, const Origin& origin) {
  try {
    return toml::parse(text, origin.name);
  } catch (const toml::parse_error& error) {
    throw InputError(fmt::format("{}: {}", origin.place(error.source()), error.description()));
  }
}

NodePointer parse_document(std::string_view text, const Origin& origin) {
  const toml::table table = parse_toml(text, origin);
  NodePointer root = convert("", table, {}, origin, 0);
  root->place = origin.name;
  return root;
}

/// The value of an override: TOML if it is, else the text itself. What begins like a TOML string, list or
/// table but is none is an error rather than a text.
NodePointer parse_value(const std::string& key, const std::string& text, const Origin& origin) {
  const bool structured = text.find_first_of("\"'[{") == 0;
  const bool one_line = text.find_first_of("\r\n#") == std::string::npos;
  toml::table table;
  if (structured || one_line) {
    try {
      table = toml::parse("value = " + text, origin.name);
    } catch (const toml::parse_error& error) {
      if (structured) {
        throw InputError(fmt::format("{}: {}", origin.name, error.description()));
      }
    }
  }
  if (table.size() > 1) {
    throw InputError(fmt::format("{}: more than one value", origin.name));
  }
  if (table.empty()) {
    table.insert("value", text);
  }
  return convert(key, *table.get("value"), {}, origin, 0);
}

void apply_override(ConfigNode& root, const std::string& text) {
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0) {
    throw InputError(fmt::format("--set {}: expected KEY=VALUE, such as seed=1", text));
  }
  const std::string path = text.substr(0, equals);
  const Origin origin{"--set " + path, std::filesystem::current_path(), false};

  ConfigNode* section = &root;
  std::size_t begin = 0;
  for (int depth = 0;; ++depth) {
    const std::size_t dot = path.find('.', begin);
    const std::string key = path.substr(begin, dot == std::string::npos ? dot : dot - begin);
    if (key.empty() || depth > kDeepest) {
      throw InputError(fmt::format("{}: '{}' is not a key", origin.name, path));
    }
    NodePointer child = section->find(key);
    if (dot == std::string::npos) {
      NodePointer value = parse_value(key, text.substr(equals + 1), origin);
      if (child) {
        *child = *value;
      } else {
        section->children.push_back(std::move(value));
      }
      return;
    }
    if (!child) {
      child = std::make_shared<ConfigNode>();
      child->key = key;
      child->place = origin.name;
      child->found = "a section";
      child->is_section = true;
      section->children.push_back(child);
    }
    if (!child->is_section) {
      throw InputError(fmt::format("{}: key '{}' is not a section; it is {}", origin.name,
                                   path.substr(0, dot), child->found));
    }
    section = child.get();
    begin = dot + 1;
  }
}

/// The value in the type of the spec: an integer serves where a real is wanted, and paths become absolute.
ParameterValue adapted(const ParameterSpec& spec, const ConfigNode& node) {
  ParameterValue value = *node.value;
  if (std::holds_alternative<double>(spec.default_value) && std::holds_alternative<std::int64_t>(value)) {
    return static_cast<double>(std::get<std::int64_t>(value));
  }
  if (auto* text = std::get_if<std::string>(&value); text != nullptr && spec.path && !text->empty()) {
    return (node.folder / *text).lexically_normal().string();
  }
  return value;
}

std::vector<std::string> names_of(const std::vector<ParameterSpec>& specs,
                                  const std::vector<std::string>& sections) {
  std::vector<std::string> names;
  for (const ParameterSpec& spec : specs) {
    names.push_back(spec.name);
  }
  names.insert(names.end(), sections.begin(), sections.end());
  return names;
}

}  // namespace

ConfigTable::ConfigTable() {
  auto empty = std::make_shared<ConfigNode>();
  empty->is_section = true;
  node_ = std::move(empty);
}

const ConfigNode* ConfigTable::child(std::string_view key) const {
  return node_->find(key).get();
}

bool ConfigTable::has(std::string_view key) const {
  return child(key) != nullptr;
}

std::string ConfigTable::full(std::string_view key) const {
  return path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key);
}

void ConfigTable::fail(std::string_view key, std::string_view message) const {
  const ConfigNode* node = child(key);
  const std::string& place = node != nullptr ? node->place : node_->place;
  throw InputError(fmt::format("{}{}key '{}' {}", place, place.empty() ? "" : ": ", full(key), message));
}

ParameterValue ConfigTable::read(const ParameterSpec& spec) const {
  const ConfigNode* node = child(spec.name);
  if (node == nullptr) {
    if (spec.required) {
      fail(spec.name, fmt::format("is missing; it must be {}", domain_text(spec)));
    }
    return spec.default_value;
  }
  if (node->value) {
    ParameterValue value = adapted(spec, *node);
    if (is_valid(spec, value)) {
      return value;
    }
  }
  std::string hint;
  if (node->value && std::holds_alternative<std::string>(*node->value)) {
    if (const auto meant = nearest_name(std::get<std::string>(*node->value), spec.choices)) {
      hint = fmt::format("; did you mean '{}'?", *meant);
    }
  }
  fail(spec.name, fmt::format("must be {}; found {}{}", domain_text(spec), node->found, hint));
}

Parameters ConfigTable::resolve(const std::vector<ParameterSpec>& specs,
                                const std::vector<std::string>& sections) const {
  const std::vector<std::string> names = names_of(specs, sections);
  for (const NodePointer& node : node_->children) {
    if (std::ranges::find(names, node->key) == names.end()) {
      throw InputError(fmt::format("{}: key '{}' is unknown; {}", node->place, full(node->key),
                                   valid_text(node->key, "keys here", names)));
    }
  }
  Parameters parameters(specs);
  for (const ParameterSpec& spec : specs) {
    parameters.set(spec.name, read(spec));
  }
  return parameters;
}

std::string ConfigTable::text(const ParameterSpec& spec) const {
  return std::get<std::string>(read(spec));
}

ConfigTable ConfigTable::section(std::string_view name) const {
  const NodePointer node = node_->find(name);
  if (!node) {
    auto empty = std::make_shared<ConfigNode>();
    empty->is_section = true;
    empty->place = node_->place;
    return {std::move(empty), full(name)};
  }
  if (!node->is_section) {
    fail(name, fmt::format("must be a section, [{}]; found {}", full(name), node->found));
  }
  return {node, full(name)};
}

ConfigTable parse_config(std::string_view text, const std::string& name,
                         std::span<const std::string> overrides) {
  const Origin origin{name, std::filesystem::absolute(name).parent_path()};
  const NodePointer root = parse_document(text, origin);
  for (const std::string& override_text : overrides) {
    apply_override(*root, override_text);
  }
  return {root, ""};
}

ConfigTable read_config(const std::filesystem::path& file, std::span<const std::string> overrides) {
  return parse_config(read_text_file(file), file.string(), overrides);
}

std::string read_text_file(const std::filesystem::path& file) {
  std::error_code error;
  const auto status = std::filesystem::status(file, error);
  if (!std::filesystem::exists(status)) {
    throw InputError(fmt::format("{}: no such file", file.string()));
  }
  if (!std::filesystem::is_regular_file(status)) {
    throw InputError(fmt::format("{}: not a regular file", file.string()));
  }
  std::ifstream stream(file, std::ios::binary);
  std::ostringstream content;
  if (!stream || (stream.peek() != std::ifstream::traits_type::eof() && !(content << stream.rdbuf()))) {
    throw InputError(fmt::format("{}: cannot be read: {}", file.string(), std::strerror(errno)));
  }
  return std::move(content).str();
}

}  // namespace pagelab
