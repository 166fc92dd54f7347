#include "core/parameters.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "core/error.h"

namespace pagelab {
namespace {

/// The type's name with its article, in the order of the variant's alternatives.
constexpr std::array<const char*, std::variant_size_v<ParameterValue>> kTypeNames = {
    "true or false",          "an integer",     "a real number", "a text", "a list of integers",
    "a list of real numbers", "a list of texts"};

std::string real_text(double value) {
  std::string text = fmt::format("{}", value);
  if (text.find_first_of(".enai") == std::string::npos) {  // neither a point, an exponent, nan nor inf
    text += ".0";
  }
  return text;
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char letter : text) {
    const auto code = static_cast<unsigned char>(letter);
    if (letter == '"' || letter == '\\') {
      out += '\\';
      out += letter;
    } else if (code < 0x20 || code == 0x7f) {
      out += fmt::format("\\u{:04x}", code);
    } else {
      out += letter;
    }
  }
  return out + '"';
}

std::string listed(const auto& values, const auto& text_of) {
  std::string text;
  for (const auto& value : values) {
    text += (text.empty() ? "" : ", ") + text_of(value);
  }
  return fmt::format("[{}]", text);
}

struct TomlText {
  std::string operator()(bool value) const { return value ? "true" : "false"; }
  std::string operator()(std::int64_t value) const { return std::to_string(value); }
  std::string operator()(double value) const { return real_text(value); }
  std::string operator()(const std::string& value) const { return quoted(value); }
  std::string operator()(const IntegerList& value) const {
    return fmt::format("[{}]", fmt::join(value, ", "));
  }
  std::string operator()(const RealList& value) const { return listed(value, real_text); }
  std::string operator()(const TextList& value) const { return listed(value, quoted); }
};

bool within(const ParameterSpec& spec, double value) {
  return !std::isnan(value) && (!spec.minimum || value >= *spec.minimum) &&
         (!spec.maximum || value <= *spec.maximum) && (!spec.above || value > *spec.above);
}

struct Validity {
  const ParameterSpec& spec;
  bool operator()(bool) const { return true; }
  bool operator()(std::int64_t value) const { return within(spec, static_cast<double>(value)); }
  bool operator()(double value) const { return std::isfinite(value) && within(spec, value); }
  bool operator()(const std::string& value) const {
    return spec.choices.empty() || std::ranges::find(spec.choices, value) != spec.choices.end();
  }
  bool operator()(const IntegerList& values) const {
    return std::ranges::all_of(values,
                               [&](std::int64_t value) { return within(spec, static_cast<double>(value)); });
  }
  bool operator()(const RealList& values) const { return all(values); }
  bool operator()(const TextList& values) const { return all(values); }
  bool all(const auto& values) const {
    return std::ranges::all_of(values, [&](const auto& value) { return (*this)(value); });
  }
};

/// Insertions, deletions and replacements that turn `a` into `b`.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row[b.size()];
}

}  // namespace

std::string type_text(const ParameterValue& value) {
  return kTypeNames[value.index()];
}

std::string toml_text(const ParameterValue& value) {
  return std::visit(TomlText{}, value);
}

std::string domain_text(const ParameterSpec& spec) {
  if (!spec.choices.empty()) {
    return fmt::format("one of: {}", fmt::join(spec.choices, ", "));
  }
  std::string text = type_text(spec.default_value);
  std::vector<std::string> bounds;
  if (spec.above) {
    bounds.push_back(fmt::format("greater than {}", *spec.above));
  }
  if (spec.minimum) {
    bounds.push_back(fmt::format("at least {}", *spec.minimum));
  }
  if (spec.maximum) {
    bounds.push_back(fmt::format("at most {}", *spec.maximum));
  }
  if (!bounds.empty()) {
    text += fmt::format(", {}", fmt::join(bounds, " and "));
  }
  if (!spec.unit.empty()) {
    text += fmt::format(", in {}", spec.unit);
  }
  return text;
}

bool is_valid(const ParameterSpec& spec, const ParameterValue& value) {
  return value.index() == spec.default_value.index() && std::visit(Validity{spec}, value);
}

std::optional<std::string> nearest_name(std::string_view name, const std::vector<std::string>& candidates) {
  std::optional<std::string> best;
  std::size_t limit = std::max<std::size_t>(2, name.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    // A near name shares something with what was written: a distance as long as the name says nothing.
    const std::size_t apart = distance(name, candidate);
    if (apart < limit && apart < std::max(name.size(), candidate.size())) {
      limit = apart;
      best = candidate;
    }
  }
  return best;
}

std::string valid_text(std::string_view name, std::string_view what,
                       const std::vector<std::string>& candidates) {
  const std::optional<std::string> meant = nearest_name(name, candidates);
  return fmt::format("valid {}: {}{}", what,
                     candidates.empty() ? "none" : fmt::format("{}", fmt::join(candidates, ", ")),
                     meant ? fmt::format("; did you mean '{}'?", *meant) : "");
}

std::string unknown_text(std::string_view name, std::string_view what,
                         const std::vector<std::string>& candidates) {
  return fmt::format("'{}' is unknown; {}", name, valid_text(name, what, candidates));
}

Parameters::Parameters(const std::vector<ParameterSpec>& specs) {
  entries_.reserve(specs.size());
  for (const ParameterSpec& spec : specs) {
    PAGELAB_INVARIANT(!has(spec.name), fmt::format("parameter '{}' is declared twice", spec.name));
    PAGELAB_INVARIANT(spec.required || is_valid(spec, spec.default_value),
                      fmt::format("the default of parameter '{}' is not {}", spec.name, domain_text(spec)));
    entries_.push_back({spec, spec.default_value});
  }
}

const Parameters::Entry* Parameters::find(std::string_view name) const {
  const auto entry =
      std::ranges::find(entries_, name, [](const Entry& e) { return std::string_view(e.spec.name); });
  return entry == entries_.end() ? nullptr : &*entry;
}

const Parameters::Entry& Parameters::declared(std::string_view name) const {
  const Entry* entry = find(name);
  PAGELAB_INVARIANT(entry != nullptr, fmt::format("parameter '{}' was not declared", name));
  return *entry;
}

template <class T>
const T& Parameters::get(std::string_view name) const {
  const Entry& entry = declared(name);
  const T* value = std::get_if<T>(&entry.value);
  PAGELAB_INVARIANT(value != nullptr, fmt::format("parameter '{}' is {}", name, type_text(entry.value)));
  return *value;
}

template const bool& Parameters::get<bool>(std::string_view) const;
template const std::int64_t& Parameters::get<std::int64_t>(std::string_view) const;
template const double& Parameters::get<double>(std::string_view) const;
template const std::string& Parameters::get<std::string>(std::string_view) const;
template const IntegerList& Parameters::get<IntegerList>(std::string_view) const;
template const RealList& Parameters::get<RealList>(std::string_view) const;
template const TextList& Parameters::get<TextList>(std::string_view) const;

void Parameters::set(std::string_view name, ParameterValue value) {
  const Entry& entry = declared(name);
  PAGELAB_INVARIANT(is_valid(entry.spec, value),
                    fmt::format("parameter '{}' must be {}", name, domain_text(entry.spec)));
  entries_[static_cast<std::size_t>(&entry - entries_.data())].value = std::move(value);
}

}  // namespace pagelab
