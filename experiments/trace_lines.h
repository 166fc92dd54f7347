// LineReader: the lines of a text file, plain or xz-compressed, one at a time in constant memory. It owns the
// open file; it knows no format.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "experiments/trace_bytes.h"

namespace pagelab {

class LineReader {
 public:
  /// Opens a regular file; xz is recognised by its first bytes. Throws InputError.
  explicit LineReader(const std::filesystem::path& file);

  /// The next line without its end (LF or CRLF); false at the end. Throws InputError if the file cannot be
  /// read further: truncated or damaged xz data, a line of more than 16 MiB.
  bool next(std::string& line);
  /// "FILE:LINE" of the line last returned.
  std::string place() const;

 private:
  bool fill();
  [[noreturn]] void fail(const std::string& why) const;

  std::string name_;
  TraceBytes bytes_;
  std::string buffer_;
  std::size_t position_ = 0;
  std::int64_t line_ = 0;
};

}  // namespace pagelab
