#include "experiments/trace_formats.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/parameters.h"

namespace pagelab {
namespace {

constexpr std::int64_t kLongest = std::numeric_limits<std::int32_t>::max();

/// A CSV format: the names of its columns. The time may be missing.
struct CsvFormat {
  std::string_view name, prompt, output, time;
};
constexpr std::array<CsvFormat, 3> kCsvFormats = {{
    {"azure", "ContextTokens", "GeneratedTokens", "TIMESTAMP"},
    {"vidur", "num_prefill_tokens", "num_decode_tokens", "arrived_at"},
    {"lengths", "input_tokens", "output_tokens", "arrival_s"},
}};

std::string_view trimmed(std::string_view text) {
  const auto is_space = [](char c) { return c == ' ' || c == '\t' || c == '\r'; };
  while (!text.empty() && is_space(text.front())) {
    text.remove_prefix(1);
  }
  while (!text.empty() && is_space(text.back())) {
    text.remove_suffix(1);
  }
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"') {
    text = text.substr(1, text.size() - 2);
  }
  return text;
}

void split(std::string_view line, std::vector<std::string_view>& fields) {
  fields.clear();
  for (;;) {
    const std::size_t comma = line.find(',');
    fields.push_back(trimmed(line.substr(0, comma)));
    if (comma == std::string_view::npos) {
      return;
    }
    line.remove_prefix(comma + 1);
  }
}

template <class Number>
std::optional<Number> number(std::string_view text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(value) : std::nullopt;
}

Tokens check_tokens(std::optional<std::int64_t> value, std::string_view text, std::string_view column,
                    const LineReader& at) {
  if (!value || *value < 0 || *value > kLongest) {
    throw InputError(fmt::format("{}: {} is '{}'; it must be a whole number of tokens from 1 to {}",
                                 at.place(), column, text.substr(0, 40), kLongest));
  }
  return Tokens(*value);
}

/// A whole number of at least `least`, in a column that may not be empty.
std::int32_t check_number(std::string_view text, std::int32_t least, std::string_view column,
                          const LineReader& at) {
  constexpr std::int32_t most = 1'000'000;
  const auto value = number<std::int32_t>(text);
  if (!value || *value < least || *value > most) {
    throw InputError(fmt::format("{}: {} is '{}'; it must be a whole number from {} to {}", at.place(),
                                 column, text.substr(0, 40), least, most));
  }
  return *value;
}

/// Seconds from arrival to deadline; none in an empty cell.
std::optional<Seconds> check_slack(std::string_view text, std::string_view column, const LineReader& at) {
  if (text.empty()) {
    return std::nullopt;
  }
  const auto seconds = number<double>(text);
  if (!seconds || !(*seconds >= 0 && *seconds <= 1e9)) {
    throw InputError(
        fmt::format("{}: {} is '{}'; it must be seconds after the arrival, from 0 to 1e9, or empty",
                    at.place(), column, text.substr(0, 40)));
  }
  return Seconds(*seconds);
}

/// Nanoseconds of "2023-11-16 18:15:46.6805900" since 1970, an offset such as "+00:00" included.
std::optional<std::int64_t> date_time(std::string_view text) {
  const auto part = [&](std::size_t at, std::size_t length, std::string_view before) {
    return text.size() >= at + length &&
                   (before.empty() || before.find(text[at - 1]) != std::string_view::npos)
               ? number<std::int64_t>(text.substr(at, length)).value_or(-1)
               : -1;
  };
  const std::array<std::int64_t, 6> parts = {part(0, 4, ""),    part(5, 2, "-"),  part(8, 2, "-"),
                                             part(11, 2, " T"), part(14, 2, ":"), part(17, 2, ":")};
  if (std::ranges::min(parts) < 0) {
    return std::nullopt;
  }
  using namespace std::chrono;
  const year_month_day date{year(static_cast<int>(parts[0])), month(static_cast<unsigned>(parts[1])),
                            day(static_cast<unsigned>(parts[2]))};
  if (!date.ok() || parts[0] < 1700 || parts[0] > 2200 || parts[3] > 23 || parts[4] > 59 || parts[5] > 60) {
    return std::nullopt;
  }
  std::int64_t nanoseconds =
      sys_days(date).time_since_epoch().count() * 86400 + parts[3] * 3600 + parts[4] * 60 + parts[5];
  nanoseconds *= 1'000'000'000;
  text.remove_prefix(19);
  if (text.starts_with('.')) {
    std::int64_t digit = 100'000'000;
    for (text.remove_prefix(1); !text.empty() && text[0] >= '0' && text[0] <= '9'; text.remove_prefix(1)) {
      nanoseconds += digit * (text[0] - '0');
      digit /= 10;
    }
  }
  if (text.size() == 6 && (text[0] == '+' || text[0] == '-')) {
    const auto hours = number<std::int64_t>(text.substr(1, 2));
    const auto minutes = number<std::int64_t>(text.substr(4, 2));
    if (!hours || !minutes || text[3] != ':') {
      return std::nullopt;
    }
    nanoseconds -= (text[0] == '+' ? 1 : -1) * (*hours * 60 + *minutes) * 60'000'000'000;
    text = {};
  }
  return text.empty() || text == "Z" ? std::optional(nanoseconds) : std::nullopt;
}

/// Times of a trace, counted from its first row.
class TimeLine {
 public:
  /// A date and time, or seconds.
  Seconds read(std::string_view text, std::string_view column, const LineReader& at) {
    if (const auto nanoseconds = date_time(text)) {
      first_date_ = first_date_.value_or(*nanoseconds);
      return Seconds(static_cast<double>(*nanoseconds - *first_date_) * 1e-9);
    }
    const auto seconds = number<double>(text);
    if (!seconds || !std::isfinite(*seconds)) {
      throw InputError(fmt::format("{}: {} is '{}'; it must be seconds or a date and time", at.place(),
                                   column, text.substr(0, 40)));
    }
    return from_first(*seconds);
  }
  Seconds from_first(double seconds) {
    first_ = first_.value_or(seconds);
    return Seconds(seconds - *first_);
  }

 private:
  std::optional<std::int64_t> first_date_;
  std::optional<double> first_;
};

class CsvParser final : public TraceReader::Parser {
 public:
  CsvParser(const CsvFormat& format, const TraceOptions& options, std::string_view header,
            const LineReader& at) {
    std::vector<std::string_view> fields;
    split(header, fields);
    columns_.assign(fields.begin(), fields.end());
    prompt_ = required(options.prompt_column, format.prompt, at);
    output_ = required(options.output_column, format.output, at);
    time_ = options.time_column.empty() ? find(format.time) : required(options.time_column, {}, at);
    client_ = optional(options.client_column, at);
    priority_ = optional(options.priority_column, at);
    deadline_ = optional(options.deadline_column, at);
  }
  bool has_header() const override { return true; }

  void parse(std::string_view line, const LineReader& at, TraceRow& row) override {
    split(line, fields_);
    if (fields_.size() != columns_.size()) {
      throw InputError(fmt::format("{}: {} fields, but the header names {} columns", at.place(),
                                   fields_.size(), columns_.size()));
    }
    row.prompt = tokens(prompt_, at);
    row.output = tokens(output_, at);
    row.time.reset();
    if (time_) {
      row.time = times_.read(fields_[*time_], columns_[*time_], at);
    }
    if (client_) {
      row.client = check_number(fields_[*client_], 0, columns_[*client_], at);
    }
    if (priority_) {
      row.priority = check_number(fields_[*priority_], -1'000'000, columns_[*priority_], at);
    }
    if (deadline_) {
      row.slack = check_slack(fields_[*deadline_], columns_[*deadline_], at);
    }
    row.blocks.clear();
  }

 private:
  std::optional<std::size_t> find(std::string_view name) const {
    const auto column = std::ranges::find(columns_, name);
    return column == columns_.end() ? std::nullopt
                                    : std::optional(static_cast<std::size_t>(column - columns_.begin()));
  }
  std::size_t required(std::string_view given, std::string_view standard, const LineReader& at) const {
    const std::string_view name = given.empty() ? standard : given;
    const auto column = find(name);
    if (!column) {
      throw InputError(fmt::format("{}: column '{}' is missing; {}", at.place(), name,
                                   valid_text(name, "columns here", columns_)));
    }
    return *column;
  }
  /// A column that is read only if it is named.
  std::optional<std::size_t> optional(std::string_view given, const LineReader& at) const {
    return given.empty() ? std::nullopt : std::optional(required(given, {}, at));
  }
  Tokens tokens(std::size_t column, const LineReader& at) const {
    return check_tokens(number<std::int64_t>(fields_[column]), fields_[column], columns_[column], at);
  }

  std::vector<std::string> columns_;
  std::vector<std::string_view> fields_;
  std::size_t prompt_ = 0;
  std::size_t output_ = 0;
  std::optional<std::size_t> time_, client_, priority_, deadline_;
  TimeLine times_;
};

class MooncakeParser final : public TraceReader::Parser {
 public:
  bool has_header() const override { return false; }

  void parse(std::string_view line, const LineReader& at, TraceRow& row) override {
    const nlohmann::json json = nlohmann::json::parse(line, nullptr, false);
    if (!json.is_object()) {
      throw InputError(fmt::format("{}: not a JSON object", at.place()));
    }
    row.prompt = tokens(json, "input_length", at);
    row.output = tokens(json, "output_length", at);
    row.time.reset();
    if (const auto time = json.find("timestamp"); time != json.end()) {
      if (!time->is_number()) {
        throw InputError(fmt::format("{}: timestamp must be a number, in ms", at.place()));
      }
      row.time = times_.from_first(time->get<double>() * 1e-3);
    }
    row.blocks.clear();
    if (const auto ids = json.find("hash_ids"); ids != json.end()) {
      if (!ids->is_array() ||
          !std::ranges::all_of(*ids, [](const auto& id) { return id.is_number_integer(); })) {
        throw InputError(fmt::format("{}: hash_ids must be a list of integers", at.place()));
      }
      for (const auto& id : *ids) {
        row.blocks.push_back(id.is_number_unsigned() ? id.get<std::uint64_t>()
                                                     : static_cast<std::uint64_t>(id.get<std::int64_t>()));
      }
    }
  }

 private:
  static Tokens tokens(const nlohmann::json& json, const char* key, const LineReader& at) {
    const auto value = json.find(key);
    if (value == json.end()) {
      std::vector<std::string> keys;
      for (const auto& item : json.items()) {
        keys.push_back(item.key());
      }
      throw InputError(
          fmt::format("{}: key '{}' is missing; keys found: {}", at.place(), key, fmt::join(keys, ", ")));
    }
    const std::string text = value->dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
    return check_tokens(number<std::int64_t>(text), text, key, at);
  }

  TimeLine times_;
};

const CsvFormat* csv_format(std::string_view name) {
  const auto format = std::ranges::find(kCsvFormats, name, &CsvFormat::name);
  return format == kCsvFormats.end() ? nullptr : &*format;
}

/// Columns that only a CSV file can have must not be asked for.
void refuse_columns(const TraceOptions& options, const LineReader& at) {
  for (const auto& [key, column] : {std::pair{"client_column", &options.client_column},
                                    std::pair{"priority_column", &options.priority_column},
                                    std::pair{"deadline_column", &options.deadline_column}}) {
    if (!column->empty()) {
      throw InputError(
          fmt::format("{}: {} = '{}' needs a CSV file; this is JSON lines", at.place(), key, *column));
    }
  }
}

/// The format whose columns the header has; "lengths" where the columns are named by the user.
const CsvFormat& detect_csv(const TraceOptions& options, std::string_view header, const LineReader& at) {
  if (!options.prompt_column.empty() || !options.output_column.empty()) {
    return *csv_format("lengths");
  }
  std::vector<std::string_view> columns;
  split(header, columns);
  const auto has = [&](std::string_view name) { return std::ranges::find(columns, name) != columns.end(); };
  const auto format =
      std::ranges::find_if(kCsvFormats, [&](const CsvFormat& f) { return has(f.prompt) && has(f.output); });
  if (format == kCsvFormats.end()) {
    throw InputError(
        fmt::format("{}: the format is none of {}; columns found: {}; name the right ones by "
                    "prompt_column and output_column",
                    at.place(), fmt::join(trace_formats(), ", "),
                    fmt::format("{}", fmt::join(columns, ", ")).substr(0, 200)));
  }
  return *format;
}

}  // namespace

std::vector<std::string> trace_formats() {
  std::vector<std::string> names = {"auto"};
  for (const CsvFormat& format : kCsvFormats) {
    names.emplace_back(format.name);
  }
  names.emplace_back("mooncake");
  return names;
}

std::unique_ptr<TraceReader::Parser> make_trace_parser(const TraceOptions& options,
                                                       std::string_view first_line, const LineReader& at) {
  if (options.format == "mooncake" || (options.format == "auto" && trimmed(first_line).starts_with('{'))) {
    refuse_columns(options, at);
    return std::make_unique<MooncakeParser>();
  }
  const CsvFormat* named = csv_format(options.format);
  const CsvFormat& format = named != nullptr ? *named : detect_csv(options, first_line, at);
  return std::make_unique<CsvParser>(format, options, first_line, at);
}

}  // namespace pagelab
