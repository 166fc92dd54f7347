// TraceReader: request lengths, and where a trace has them arrival times and prefix blocks, row by row from
// the formats in which traces are published. It keeps one row in memory. Every error names file and line.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/ids.h"
#include "experiments/trace_lines.h"

namespace pagelab {

struct TraceRow {
  Tokens prompt;
  Tokens output;
  std::optional<Seconds> time;  ///< since the first row of the file
  std::optional<std::int32_t> client;
  std::optional<std::int32_t> priority;
  std::optional<Seconds> slack;  ///< from arrival to deadline
  std::vector<std::uint64_t>
      blocks;  ///< ids of the prompt's blocks: equal ids, equal tokens; empty if unknown
};

/// What is read, and which rows are passed over. A bound of 0 is none.
struct TraceOptions {
  std::string file{};
  std::string format = "auto";  ///< one of trace_formats()
  std::string prompt_column{};  ///< of a CSV file; empty: the format's
  std::string output_column{};
  std::string time_column{};
  std::string client_column{};  ///< of a CSV file; empty: none, and so for the next two
  std::string priority_column{};
  std::string deadline_column{};
  std::int64_t add_output = 0;  ///< to every output's length, before the bounds
  std::int64_t min_prompt = 0;
  std::int64_t max_prompt = 0;
  std::int64_t min_output = 0;
  std::int64_t max_output = 0;
  std::int64_t max_total = 0;
};

/// auto, azure, vidur, lengths, mooncake.
///   azure     CSV with TIMESTAMP (a date and time), ContextTokens, GeneratedTokens
///   vidur     CSV with num_prefill_tokens, num_decode_tokens (Vidur, Sarathi-Serve), maybe arrived_at
///   lengths   CSV with input_tokens, output_tokens, maybe arrival_s; or any CSV whose columns are named
///   mooncake  JSON lines with input_length, output_length, maybe timestamp (ms) and hash_ids
std::vector<std::string> trace_formats();

class TraceReader {
 public:
  /// Opens the file and finds its format and columns. Throws InputError; an empty file is an error.
  explicit TraceReader(const TraceOptions& options);
  ~TraceReader();

  /// The next row within the bounds; false at the end. Throws InputError on a length that is not a whole
  /// number of at least 1 (a zero is passed over where a minimum excludes it) and on a time before that of
  /// the row above.
  bool next(TraceRow& row);
  /// "FILE:LINE" of the last row.
  std::string place() const { return lines_.place(); }

  /// Reads one line of a format.
  class Parser;

 private:
  bool passes(const TraceRow& row) const;

  TraceOptions options_;
  LineReader lines_;
  std::unique_ptr<Parser> parser_;
  std::string line_;
  bool at_row_ = false;  ///< line_ holds a row already: the format has no header
  std::optional<Seconds> last_time_;
};

}  // namespace pagelab
