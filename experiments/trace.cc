#include "experiments/trace.h"

#include <fmt/format.h>

#include "core/error.h"
#include "experiments/trace_formats.h"

namespace pagelab {
namespace {

bool is_blank(const std::string& line) {
  return line.find_first_not_of(" \t\r") == std::string::npos;
}

/// Zero tokens are an error unless a minimum leaves the row out.
void check_length(const char* what, Tokens length, std::int64_t minimum, const LineReader& at) {
  if (length.value() == 0 && minimum < 1) {
    throw InputError(
        fmt::format("{}: {} of 0 tokens; min_{} = 1 passes over such rows", at.place(), what, what));
  }
}

}  // namespace

TraceReader::TraceReader(const TraceOptions& options) : options_(options), lines_(options.file) {
  do {
    if (!lines_.next(line_)) {
      throw InputError(fmt::format("{}: the trace is empty", options.file));
    }
    if (line_.starts_with("\xEF\xBB\xBF")) {  // a byte order mark
      line_.erase(0, 3);
    }
  } while (is_blank(line_));
  parser_ = make_trace_parser(options_, line_, lines_);
  at_row_ = !parser_->has_header();
}

TraceReader::~TraceReader() = default;

bool TraceReader::next(TraceRow& row) {
  for (;;) {
    if (!at_row_ && !lines_.next(line_)) {
      return false;
    }
    at_row_ = false;
    if (is_blank(line_)) {
      continue;
    }
    parser_->parse(line_, lines_, row);
    if (row.time && last_time_ && *row.time < *last_time_) {
      throw InputError(
          fmt::format("{}: the time goes back by {} s", place(), (*last_time_ - *row.time).value()));
    }
    last_time_ = row.time;
    check_length("prompt", row.prompt, options_.min_prompt, lines_);
    row.output += Tokens(options_.add_output);
    check_length("output", row.output, options_.min_output, lines_);
    if (passes(row)) {
      return true;
    }
  }
}

bool TraceReader::passes(const TraceRow& row) const {
  const auto inside = [](Tokens length, std::int64_t low, std::int64_t high) {
    return length.value() >= low && (high == 0 || length.value() <= high);
  };
  return inside(row.prompt, options_.min_prompt, options_.max_prompt) &&
         inside(row.output, options_.min_output, options_.max_output) &&
         inside(row.prompt + row.output, 0, options_.max_total);
}

}  // namespace pagelab
