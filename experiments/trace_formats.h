// The formats of TraceReader: how a line becomes a row. A parser holds no file; it reports a bad value by an
// InputError that begins with the place of the line that it is given.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "experiments/trace.h"

namespace pagelab {

class TraceReader::Parser {
 public:
  virtual ~Parser() = default;
  /// `at` has just read `line`. Lengths may come back 0. Throws InputError.
  virtual void parse(std::string_view line, const LineReader& at, TraceRow& row) = 0;
  /// Whether the line that the parser was made from is a row itself.
  virtual bool has_header() const = 0;
};

/// The parser for a file that begins with `first_line`. Throws InputError if no format fits.
std::unique_ptr<TraceReader::Parser> make_trace_parser(const TraceOptions& options,
                                                       std::string_view first_line, const LineReader& at);

}  // namespace pagelab
