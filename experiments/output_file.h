// OutputFile: a file that is complete or absent. It is written as NAME.partial and renamed to NAME by
// complete(), so that whoever finds NAME has all of it; a killed program leaves the .partial file only.
//
// It owns the descriptor and a buffer; rows are formatted straight into the buffer, so writing allocates
// nothing. Records are lines: when the disk fills up, what is on disk is cut back to the last whole line and
// can still be completed into a valid file.
#pragma once

#include <cstddef>
#include <filesystem>
#include <stdexcept>
#include <string_view>
#include <vector>

namespace pagelab {

/// A file of the run folder cannot be written. The text names the file and the system's reason.
class OutputError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

class OutputFile {
 public:
  /// Creates NAME.partial. `reserved_bytes` of disk are set aside at once, so that a short file can be
  /// written even when the disk has filled up meanwhile; `tail_bytes` are kept back on a disk that has filled
  /// up, for the tail that complete() adds. Throws OutputError.
  explicit OutputFile(std::filesystem::path path, std::size_t reserved_bytes = 0, std::size_t tail_bytes = 0);
  /// Leaves the .partial file as it is unless complete() was called.
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  /// Room for `bytes` (at most 64 KiB) at the end of the buffer; the caller formats into it and calls wrote()
  /// with the end of what it wrote. Throws OutputError when the disk does not take what was written before.
  char* room(std::size_t bytes);
  void wrote(const char* end);
  /// Appends a text of any length. Throws OutputError.
  void write(std::string_view text);

  /// Writes the buffer to the file. Throws OutputError; after that, everything but the tail is dropped in
  /// silence.
  void flush();

  /// Writes the buffer and `tail`, closes the file and gives it its name. Throws OutputError if the disk does
  /// not take all; the file then still gets its name if the tail could follow the last whole line that it did
  /// take.
  void complete(std::string_view tail = {});

  const std::filesystem::path& path() const { return path_; }

 private:
  /// Writes `text` at the end of the file; returns the system's error, 0 if there was none.
  int append(std::string_view text);
  /// Goes back to the last whole line that leaves room for the tail. The disk keeps what it took until
  /// complete(), so that no other file takes the room.
  void cut_back();
  [[noreturn]] void fail(const char* action, int error) const;

  std::filesystem::path path_;
  std::filesystem::path partial_;
  int descriptor_ = -1;
  std::vector<char> buffer_;
  std::size_t used_ = 0;
  std::size_t on_disk_ = 0;  ///< bytes of the file that count
  std::size_t tail_bytes_;
  bool full_ = false;  ///< the disk did not take all
};

/// Writes a whole small file at once: complete or absent. Throws OutputError.
void write_file(const std::filesystem::path& path, std::string_view text);

}  // namespace pagelab
