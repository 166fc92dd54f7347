#include "experiments/output_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <system_error>

#include <fmt/format.h>

namespace pagelab {

namespace {

constexpr std::size_t buffer_bytes = 64 * 1024;

}  // namespace

OutputFile::OutputFile(std::filesystem::path path, std::size_t reserved_bytes, std::size_t tail_bytes)
    : path_(std::move(path)), partial_(path_), buffer_(buffer_bytes), tail_bytes_(tail_bytes) {
  partial_ += ".partial";
  descriptor_ = ::open(partial_.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (descriptor_ < 0) {
    fail("create", errno);
  }
  if (reserved_bytes > 0) {
    // Only "no space" is an error: file systems that cannot reserve write as well as they can.
    const int error = ::posix_fallocate(descriptor_, 0, static_cast<off_t>(reserved_bytes));
    if (error == ENOSPC || error == EFBIG) {
      ::close(descriptor_);
      fail("write", error);
    }
  }
}

OutputFile::~OutputFile() {
  if (descriptor_ >= 0) {
    ::close(descriptor_);
  }
}

char* OutputFile::room(std::size_t bytes) {
  if (buffer_.size() - used_ < bytes) {
    flush();
  }
  return buffer_.data() + used_;
}

void OutputFile::wrote(const char* end) {
  used_ = static_cast<std::size_t>(end - buffer_.data());
}

void OutputFile::write(std::string_view text) {
  while (!text.empty()) {
    const std::size_t bytes = std::min(text.size(), buffer_.size());
    char* place = room(bytes);
    wrote(std::copy_n(text.data(), bytes, place));
    text.remove_prefix(bytes);
  }
}

void OutputFile::complete(std::string_view tail) {
  std::exception_ptr failure;
  try {
    flush();
  } catch (const OutputError&) {
    failure = std::current_exception();
  }
  int error = append(tail);
  if (error == 0 && ::ftruncate(descriptor_, static_cast<off_t>(on_disk_)) != 0) {  // what does not count
    error = errno;
  }
  if (::close(descriptor_) != 0 && error == 0) {
    error = errno;
  }
  descriptor_ = -1;
  if (error != 0) {
    fail("write", error);
  }
  std::error_code renamed;
  std::filesystem::rename(partial_, path_, renamed);
  if (renamed) {
    fail("rename", renamed.value());
  }
  if (failure) {
    std::rethrow_exception(failure);
  }
}

void OutputFile::flush() {
  const std::string_view text(buffer_.data(), used_);
  used_ = 0;
  if (full_) {
    return;
  }
  if (const int error = append(text); error != 0) {
    full_ = true;
    cut_back();
    fail("write", error);
  }
}

int OutputFile::append(std::string_view text) {
  while (!text.empty()) {
    const ssize_t taken = ::pwrite(descriptor_, text.data(), text.size(), static_cast<off_t>(on_disk_));
    if (taken < 0 && errno == EINTR) {
      continue;
    }
    if (taken <= 0) {
      return taken < 0 ? errno : ENOSPC;
    }
    on_disk_ += static_cast<std::size_t>(taken);
    text.remove_prefix(static_cast<std::size_t>(taken));
  }
  return 0;
}

void OutputFile::cut_back() {
  const std::size_t end = on_disk_ - std::min(on_disk_, tail_bytes_);
  const std::size_t begin = end - std::min(end, buffer_.size());
  const ssize_t read = ::pread(descriptor_, buffer_.data(), end - begin, static_cast<off_t>(begin));
  const std::string_view text(buffer_.data(), read > 0 ? static_cast<std::size_t>(read) : 0);
  const std::size_t newline = text.rfind('\n');
  on_disk_ = newline == std::string_view::npos ? 0 : begin + newline + 1;
}

void OutputFile::fail(const char* action, int error) const {
  throw OutputError(fmt::format("cannot {} {}: {}", action, path_.string(), std::strerror(error)));
}

void write_file(const std::filesystem::path& path, std::string_view text) {
  OutputFile file(path);
  file.write(text);
  file.complete();
}

}  // namespace pagelab
