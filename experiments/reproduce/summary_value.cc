#include "experiments/reproduce/summary_value.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/error.h"
#include "experiments/summary.h"

namespace pagelab {

namespace {

using Json = nlohmann::ordered_json;

std::string trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(' ');
  const std::size_t end = text.find_last_not_of(' ');
  return begin == std::string_view::npos ? std::string() : std::string(text.substr(begin, end + 1 - begin));
}

Json::json_pointer pointer_to(std::string path) {
  std::ranges::replace(path, '.', '/');
  return Json::json_pointer("/" + path);
}

/// The paths of all numbers that every summary has.
std::vector<std::string> summary_paths() {
  RunStatistics nothing;
  std::vector<std::string> paths;
  const Json flat = summary_json(nothing, {}, {}).flatten();
  for (const auto& [pointer, value] : flat.items()) {
    if (value.is_number()) {
      std::string path = pointer.substr(1);
      std::ranges::replace(path, '/', '.');
      paths.push_back(std::move(path));
    }
  }
  return paths;
}

}  // namespace

double SummaryValue::of(const Json& summary) const {
  double sum = 0;
  for (const std::string& path : paths) {
    const Json::json_pointer pointer = pointer_to(path);
    if (!summary.contains(pointer) || !summary[pointer].is_number()) {
      throw InputError(fmt::format("the summary has no number '{}'", path));
    }
    sum += summary[pointer].get<double>();
  }
  return sum * factor + offset;
}

SummaryValue parse_summary_value(std::string_view text, double factor, double offset) {
  SummaryValue value{.paths = {}, .factor = factor, .offset = offset};
  for (;;) {
    const std::size_t plus = text.find('+');
    value.paths.push_back(trimmed(text.substr(0, plus)));
    if (plus == std::string_view::npos) {
      return value;
    }
    text.remove_prefix(plus + 1);
  }
}

void require_in_summary(const SummaryValue& value, const ConfigTable& table, std::string_view key) {
  static const std::vector<std::string> known = summary_paths();
  for (const std::string& path : value.paths) {
    if (std::ranges::find(known, path) == known.end()) {
      table.fail(key, "names what is not in summary.json: " + unknown_text(path, "numbers there", known));
    }
  }
}

}  // namespace pagelab
