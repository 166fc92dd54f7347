#include "core/config_document.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <toml++/toml.h>

#include <algorithm>
#include <array>

#include "core/config.h"
#include "core/error.h"

namespace pagelab {
namespace {

namespace fs = std::filesystem;

using NodePointer = std::shared_ptr<ConfigNode>;

/// Where a document was written. Overrides have one line each, so they need no line number.
struct Origin {
  std::string name;
  fs::path folder;
  bool has_lines = true;

  std::string place(const toml::source_region& region) const {
    return has_lines && region.begin.line > 0 ? fmt::format("{}:{}", name, region.begin.line) : name;
  }
};

/// Sections or includes deeper than this belong to no configuration; the limit keeps recursion bounded.
constexpr std::size_t kDeepest = 32;

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

std::optional<RealList> real_list(const toml::array& array) {
  RealList list;
  for (const toml::node& item : array) {
    const auto number = item.is_number() ? item.value<double>() : std::nullopt;
    if (!number) {
      return std::nullopt;
    }
    list.push_back(*number);
  }
  return list;
}

std::optional<TextList> text_list(const toml::array& array) {
  TextList list;
  for (const toml::node& item : array) {
    if (!item.is_string()) {
      return std::nullopt;
    }
    list.push_back(**item.as_string());
  }
  return list;
}

bool is_section_list(const toml::node& node) {
  const toml::array* array = node.as_array();
  return array != nullptr && !array->empty() && array->is_homogeneous(toml::node_type::table);
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
      if (auto list = real_list(*node.as_array())) {
        return *std::move(list);
      }
      if (auto list = text_list(*node.as_array())) {
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
  if (is_section_list(node)) {
    return "a list of sections";
  }
  if (node.is_array() && !value) {
    return "a list of other things than numbers or texts";
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
                    const Origin& origin, std::size_t depth) {
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
  if (is_section_list(node)) {
    for (const toml::node& item : *node.as_array()) {
      out->items.push_back(convert(out->key, item, item.source(), origin, depth + 1));
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

Origin origin_of(const std::string& name) {
  return {name, fs::absolute(name).parent_path()};
}

/// A file that a document includes, and the line that says so.
struct Include {
  std::string file;
  std::string place;
};

/// Takes the key `include` out of the document.
std::vector<Include> take_includes(toml::table& table, const Origin& origin) {
  const auto entry = table.find(include_key);
  if (entry == table.end()) {
    return {};
  }
  const std::string place = origin.place(entry->first.source());
  const toml::array* files = entry->second.as_array();
  std::vector<Include> includes;
  for (std::size_t i = 0; files != nullptr && i < files->size(); ++i) {
    const toml::node& file = *files->get(i);
    const std::string text = file.value_or(std::string());
    if (text.empty()) {
      files = nullptr;
      break;
    }
    const fs::path path = fs::path(origin.name).parent_path() / text;
    includes.push_back({path.lexically_normal().string(), origin.place(file.source())});
  }
  if (files == nullptr) {
    throw InputError(
        fmt::format("{}: key '{}' must be a list of texts, files to include, such as "
                    "[\"base.toml\"]",
                    place, include_key));
  }
  table.erase(entry);
  return includes;
}

/// The same for all names of one file.
fs::path identity(const std::string& file) {
  std::error_code error;
  const fs::path path = fs::weakly_canonical(fs::absolute(file), error);
  return error ? fs::absolute(file) : path;
}

/// Reads documents with what they include; it remembers which are being read, to find cycles.
class LayerReader {
 public:
  NodePointer read(std::string_view text, const std::string& name) {
    open_.push_back({name, identity(name)});
    const Origin origin = origin_of(name);
    toml::table table = parse_toml(text, origin);
    auto root = std::make_shared<ConfigNode>();
    root->is_section = true;
    for (const Include& include : take_includes(table, origin)) {
      check(include);
      lay_over(*root, *read(text_of(include), include.file));
    }
    lay_over(*root, *convert("", table, {}, origin, 0));
    root->place = name;
    open_.pop_back();
    return root;
  }

 private:
  struct Open {
    std::string name;
    fs::path identity;
  };

  void check(const Include& include) const {
    const auto again = std::ranges::find(open_, identity(include.file), &Open::identity);
    if (again != open_.end()) {
      std::string chain;
      for (auto link = again; link != open_.end(); ++link) {
        chain += link->name + " -> ";
      }
      throw InputError(fmt::format("{}: key '{}' goes round in a circle: {}{}", include.place, include_key,
                                   chain, include.file));
    }
    if (open_.size() > kDeepest) {
      throw InputError(
          fmt::format("{}: key '{}': files nested more than {} deep", include.place, include_key, kDeepest));
    }
  }

  static std::string text_of(const Include& include) {
    try {
      return read_text_file(include.file);
    } catch (const InputError& error) {
      throw InputError(fmt::format("{}: key '{}': {}", include.place, include_key, error.what()));
    }
  }

  std::vector<Open> open_;
};

/// Whether both say what kind of thing the section is, and differ.
bool chooses_anew(const ConfigNode& base, const ConfigNode& over) {
  return std::ranges::any_of(std::array{"kind", "name"}, [&](const char* key) {
    const auto low = base.find(key);
    const auto high = over.find(key);
    return low && high && low->value != high->value;
  });
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

}  // namespace

std::shared_ptr<ConfigNode> ConfigNode::find(std::string_view name) const {
  const auto child =
      std::ranges::find(children, name, [](const auto& c) { return std::string_view(c->key); });
  return child == children.end() ? nullptr : *child;
}

std::shared_ptr<ConfigNode> parse_document(std::string_view text, const std::string& name) {
  return LayerReader().read(text, name);
}

void lay_over(ConfigNode& base, const ConfigNode& over) {
  for (const NodePointer& child : over.children) {
    const NodePointer below = base.find(child->key);
    if (!below) {
      base.children.push_back(child);
    } else if (below->is_section && child->is_section && !chooses_anew(*below, *child)) {
      lay_over(*below, *child);
    } else {
      *below = *child;
    }
  }
  base.place = over.place;
  base.folder = over.folder;
}

void apply_override(ConfigNode& root, const std::string& text) {
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0) {
    throw InputError(fmt::format("--set {}: expected KEY=VALUE, such as seed=1", text));
  }
  const std::string path = text.substr(0, equals);
  const Origin origin{"--set " + path, fs::current_path(), false};
  if (path == include_key) {
    throw InputError(fmt::format("{}: only a file can include others", origin.name));
  }

  ConfigNode* section = &root;
  std::size_t begin = 0;
  for (std::size_t depth = 0;; ++depth) {
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

}  // namespace pagelab
