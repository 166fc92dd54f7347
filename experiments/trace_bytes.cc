#include "experiments/trace_bytes.h"

#include <fmt/format.h>
#include <lzma.h>

#include <array>
#include <cstdio>
#include <string_view>

#include "core/error.h"

namespace pagelab {
namespace {

constexpr std::size_t kChunk = std::size_t{1} << 16;
constexpr std::string_view kXzMagic(
    "\xFD"
    "7zXZ\0",
    6);
constexpr std::uint64_t kDecoderMemory = std::uint64_t{1} << 29;

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

const char* describe(lzma_ret status) {
  switch (status) {
    case LZMA_BUF_ERROR:
      return "the xz data is truncated";
    case LZMA_MEMLIMIT_ERROR:
      return "the xz data needs more than 512 MiB to decompress";
    case LZMA_MEM_ERROR:
      return "out of memory while decompressing";
    default:
      return "the xz data is damaged";
  }
}

}  // namespace

class TraceBytes::Source {
 public:
  explicit Source(const std::filesystem::path& file) : file_(std::fopen(file.c_str(), "rb")) {
    if (!file_) {
      return;
    }
    std::array<char, kXzMagic.size()> head{};
    const std::size_t got = std::fread(head.data(), 1, head.size(), file_.get());
    std::rewind(file_.get());
    compressed_ = std::string_view(head.data(), got) == kXzMagic;
    if (compressed_ && lzma_stream_decoder(&stream_, kDecoderMemory, LZMA_CONCATENATED) != LZMA_OK) {
      file_.reset();
    }
  }
  ~Source() { lzma_end(&stream_); }
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;

  bool is_open() const { return file_ != nullptr; }

  bool read(std::string& out, const char*& error) {
    return compressed_ ? unpack(out, error) : copy(out, error);
  }

 private:
  bool copy(std::string& out, const char*& error) {
    std::array<char, kChunk> chunk;
    const std::size_t got = std::fread(chunk.data(), 1, chunk.size(), file_.get());
    out.append(chunk.data(), got);
    if (std::ferror(file_.get()) != 0) {
      error = "the file cannot be read";
    }
    return got > 0;
  }

  bool unpack(std::string& out, const char*& error) {
    std::array<std::uint8_t, kChunk> chunk;
    while (!ended_) {
      if (stream_.avail_in == 0 && std::feof(file_.get()) == 0) {
        stream_.next_in = input_.data();
        stream_.avail_in = std::fread(input_.data(), 1, input_.size(), file_.get());
        if (std::ferror(file_.get()) != 0) {
          error = "the file cannot be read";
          return false;
        }
      }
      stream_.next_out = chunk.data();
      stream_.avail_out = chunk.size();
      const lzma_ret status = lzma_code(&stream_, std::feof(file_.get()) != 0 ? LZMA_FINISH : LZMA_RUN);
      ended_ = status == LZMA_STREAM_END;
      if (status != LZMA_OK && !ended_) {
        error = describe(status);
        return false;
      }
      const std::size_t got = chunk.size() - stream_.avail_out;
      if (got > 0) {
        out.append(reinterpret_cast<const char*>(chunk.data()), got);
        return true;
      }
    }
    return false;
  }

  std::unique_ptr<std::FILE, CloseFile> file_;
  lzma_stream stream_ = LZMA_STREAM_INIT;
  std::array<std::uint8_t, kChunk> input_;
  bool compressed_ = false;
  bool ended_ = false;
};

TraceBytes::TraceBytes(const std::filesystem::path& file) {
  std::error_code error;
  const auto status = std::filesystem::status(file, error);
  if (!std::filesystem::exists(status)) {
    throw InputError(fmt::format("{}: no such file", file.string()));
  }
  if (!std::filesystem::is_regular_file(status)) {
    throw InputError(fmt::format("{}: not a regular file", file.string()));
  }
  source_ = std::make_unique<Source>(file);
  if (!source_->is_open()) {
    throw InputError(fmt::format("{}: cannot be opened", file.string()));
  }
}

TraceBytes::~TraceBytes() = default;
TraceBytes::TraceBytes(TraceBytes&&) noexcept = default;
TraceBytes& TraceBytes::operator=(TraceBytes&&) noexcept = default;

bool TraceBytes::read(std::string& out, const char*& error) {
  return source_->read(out, error);
}

}  // namespace pagelab
