// TraceBytes: the bytes of a file, plain or xz-compressed, piece by piece in constant memory. It owns the
// open file and the decoder; it knows no lines and no format.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

namespace pagelab {

class TraceBytes {
 public:
  /// Opens a regular file; xz is recognised by its first bytes. Throws InputError.
  explicit TraceBytes(const std::filesystem::path& file);
  ~TraceBytes();
  TraceBytes(TraceBytes&&) noexcept;
  TraceBytes& operator=(TraceBytes&&) noexcept;

  /// Appends some bytes; false at the end. `error` is set if there is no end but a failure: truncated or
  /// damaged xz data.
  bool read(std::string& out, const char*& error);

 private:
  class Source;
  std::unique_ptr<Source> source_;
};

}  // namespace pagelab
