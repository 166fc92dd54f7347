#include "models/config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/error.h"

namespace pagelab {

using nlohmann::json;

json parse_json_object(std::string_view text, const std::string& path) {
  constexpr int kDeepest = 64;  // printing a document recurses
  const json::parser_callback_t check_depth = [&](int depth, json::parse_event_t, json&) {
    if (depth > kDeepest) {
      throw InputError(fmt::format("{}: nested deeper than {}", path, kDeepest));
    }
    return true;
  };
  json document;
  try {
    document = json::parse(text, check_depth);
  } catch (const json::exception& error) {
    throw InputError(fmt::format("{}: not valid JSON: {}", path, error.what()));
  }
  if (!document.is_object()) {
    throw InputError(fmt::format("{}: not a JSON object", path));
  }
  return document;
}

json read_json_object(const std::filesystem::path& path) {
  constexpr std::uintmax_t kMost = 100'000'000;
  std::error_code error;
  const std::uintmax_t size = std::filesystem::file_size(path, error);
  std::ifstream file(path, std::ios::binary);
  if (error || !file) {
    throw InputError(fmt::format("{}: cannot be opened", path.string()));
  }
  if (size > kMost) {
    throw InputError(fmt::format("{}: {} bytes of JSON (at most {} are read)", path.string(), size, kMost));
  }
  std::string text(static_cast<std::size_t>(size), '\0');
  if (!file.read(text.data(), static_cast<std::streamsize>(size))) {
    throw InputError(fmt::format("{}: cannot be read", path.string()));
  }
  return parse_json_object(text, path.string());
}

std::string printable(const json& value) {
  std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
  return text.size() <= 80 ? text : text.substr(0, 77) + "...";
}

const json* ConfigReader::find(std::string_view key) const {
  const auto found = object_.find(key);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

void ConfigReader::fail(std::string_view key, const std::string& what) const {
  throw InputError(fmt::format("{}: {}: {}", where_, key, what));
}

bool ConfigReader::has(std::string_view key) const {
  return find(key) != nullptr;
}

std::int32_t ConfigReader::integer(std::string_view key, std::int32_t least, std::int32_t most,
                                   std::optional<std::int32_t> fallback) const {
  const json* const value = find(key);
  const std::string valid = fmt::format("a whole number from {} to {}", least, most);
  if (value == nullptr) {
    return fallback ? *fallback : (fail(key, "missing (" + valid + ")"), 0);
  }
  const bool small =
      value->is_number_unsigned() ? value->get<std::uint64_t>() <= INT32_MAX : value->is_number_integer();
  const std::int64_t number = small ? value->get<std::int64_t>() : INT64_MIN;
  if (number < least || number > most) {
    fail(key, fmt::format("{} is not {}", printable(*value), valid));
  }
  return static_cast<std::int32_t>(number);
}

double ConfigReader::positive(std::string_view key, std::optional<double> fallback) const {
  const json* const value = find(key);
  if (value == nullptr) {
    return fallback ? *fallback : (fail(key, "missing (a number above 0)"), 0.0);
  }
  const double number = value->is_number() ? value->get<double>() : 0.0;
  if (!(number > 0) || !std::isfinite(number)) {
    fail(key, printable(*value) + " is not a number above 0");
  }
  return number;
}

bool ConfigReader::boolean(std::string_view key, bool fallback) const {
  const json* const value = find(key);
  if (value == nullptr) {
    return fallback;
  }
  if (!value->is_boolean()) {
    fail(key, printable(*value) + " is not true or false");
  }
  return value->get<bool>();
}

std::size_t ConfigReader::choice(std::string_view key, std::span<const std::string_view> valid,
                                 std::optional<std::string_view> fallback) const {
  const json* const value = find(key);
  if (value == nullptr && !fallback) {
    fail(key, fmt::format("missing (one of {})", fmt::join(valid, ", ")));
  }
  const std::string text = value == nullptr     ? std::string(*fallback)
                           : value->is_string() ? value->get<std::string>()
                                                : std::string();
  const auto found = std::find(valid.begin(), valid.end(), text);
  if (found == valid.end()) {
    fail(key, fmt::format("{} is not supported (supported: {})", printable(*value), fmt::join(valid, ", ")));
  }
  return static_cast<std::size_t>(found - valid.begin());
}

ConfigReader ConfigReader::object(std::string_view key) const {
  const json* const value = find(key);
  if (value == nullptr || !value->is_object()) {
    fail(key, value == nullptr ? "missing" : printable(*value) + " is not an object");
  }
  return {*value, fmt::format("{}: {}", where_, key)};
}

void ConfigReader::require(std::string_view key, const json& value) const {
  const json* const found = find(key);
  if (found != nullptr && *found != value) {
    fail(key, value.is_null()
                  ? printable(*found) + " is not supported (leave it out)"
                  : fmt::format("{} is not supported (only {})", printable(*found), printable(value)));
  }
}

}  // namespace pagelab
