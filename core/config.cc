#include "core/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include "core/config_document.h"
#include "core/error.h"

namespace pagelab {
namespace {

using NodePointer = std::shared_ptr<ConfigNode>;

/// The value in the type of the spec: integers serve where reals are wanted, and paths become absolute.
ParameterValue adapted(const ParameterSpec& spec, const ConfigNode& node) {
  ParameterValue value = *node.value;
  if (std::holds_alternative<double>(spec.default_value) && std::holds_alternative<std::int64_t>(value)) {
    return static_cast<double>(std::get<std::int64_t>(value));
  }
  if (std::holds_alternative<RealList>(spec.default_value) && std::holds_alternative<IntegerList>(value)) {
    const auto& integers = std::get<IntegerList>(value);
    return RealList(integers.begin(), integers.end());
  }
  if (std::holds_alternative<TextList>(spec.default_value) && value == ParameterValue(IntegerList())) {
    return TextList();  // of an empty list the file does not say what of
  }
  if (auto* text = std::get_if<std::string>(&value); text != nullptr && spec.path && !text->empty()) {
    return (node.folder / *text).lexically_normal().string();
  }
  if (auto* texts = std::get_if<TextList>(&value); texts != nullptr && spec.path) {
    for (std::string& text : *texts) {
      text = (node.folder / text).lexically_normal().string();
    }
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
  std::vector<std::string> names = names_of(specs, sections);
  if (path_.empty()) {
    names.emplace_back(include_key);  // taken out when the file was read
  }
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

std::vector<ConfigTable> ConfigTable::list(std::string_view name) const {
  std::vector<ConfigTable> tables;
  const NodePointer node = node_->find(name);
  if (node && node->items.empty()) {
    fail(name, fmt::format("must be a list of sections, [[{}]]; found {}", full(name), node->found));
  }
  for (std::size_t i = 0; node && i < node->items.size(); ++i) {
    tables.push_back({node->items[i], full(name)});
  }
  return tables;
}

std::vector<std::string> ConfigTable::keys() const {
  std::vector<std::string> keys;
  for (const NodePointer& node : node_->children) {
    keys.push_back(node->key);
  }
  return keys;
}

std::optional<ParameterValue> ConfigTable::written(std::string_view key) const {
  const ConfigNode* node = child(key);
  return node == nullptr ? std::nullopt : node->value;
}

ConfigTable parse_config(std::string_view text, const std::string& name,
                         std::span<const std::string> overrides) {
  const NodePointer root = parse_document(text, name);
  for (const std::string& override_text : overrides) {
    apply_override(*root, override_text);
  }
  return {root, ""};
}

ConfigTable read_config(const std::filesystem::path& file, std::span<const std::string> overrides) {
  return read_config(std::span(&file, 1), overrides);
}

ConfigTable read_config(std::span<const std::filesystem::path> layers,
                        std::span<const std::string> overrides) {
  auto root = std::make_shared<ConfigNode>();
  root->is_section = true;
  for (const std::filesystem::path& file : layers) {
    lay_over(*root, *parse_document(read_text_file(file), file.string()));
  }
  for (const std::string& override_text : overrides) {
    apply_override(*root, override_text);
  }
  return {root, ""};
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
