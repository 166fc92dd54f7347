#include "models/safetensors.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "core/error.h"

namespace pagelab {
namespace {

constexpr std::uint64_t kLengthBytes = 8;
constexpr std::uint64_t kMaxHeader = 100'000'000;  // the limit of the reference implementation

struct DTypeSize {
  std::string_view name;
  std::int64_t bytes;
};
constexpr std::array kDTypes = {DTypeSize{"BOOL", 1},    DTypeSize{"U8", 1},      DTypeSize{"I8", 1},
                                DTypeSize{"F8_E5M2", 1}, DTypeSize{"F8_E4M3", 1}, DTypeSize{"I16", 2},
                                DTypeSize{"U16", 2},     DTypeSize{"F16", 2},     DTypeSize{"BF16", 2},
                                DTypeSize{"I32", 4},     DTypeSize{"U32", 4},     DTypeSize{"F32", 4},
                                DTypeSize{"F64", 8},     DTypeSize{"I64", 8},     DTypeSize{"U64", 8}};

/// Receives the header's JSON token by token: no tree is built, so nesting costs nothing and a name that is
/// there twice is seen.
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  HeaderReader(const std::string& path, std::int64_t data_begin) : path_(path), data_begin_(data_begin) {}

  std::vector<SafetensorsEntry> take() { return std::move(entries_); }

  bool null() override { return unexpected("null"); }
  bool boolean(bool) override { return unexpected("a boolean"); }
  bool number_integer(number_integer_t value) override {
    return unexpected(fmt::format("the number {}", value));
  }
  bool number_float(number_float_t, const string_t& text) override {
    return unexpected("the number " + text);
  }
  bool binary(binary_t&) override { return unexpected("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (place_ != Place::list || value > static_cast<number_unsigned_t>(INT64_MAX)) {
      return unexpected(fmt::format("the number {}", value));
    }
    (key_ == "shape" ? entry_.shape : offsets_).push_back(static_cast<std::int64_t>(value));
    return true;
  }

  bool string(string_t& value) override {
    if (place_ == Place::metadata) {
      return true;
    }
    if (place_ != Place::tensor || key_ != "dtype") {
      return unexpected("a string");
    }
    const auto* const found =
        std::find_if(kDTypes.begin(), kDTypes.end(), [&](const DTypeSize& d) { return d.name == value; });
    if (found == kDTypes.end()) {
      std::vector<std::string_view> names;
      std::transform(kDTypes.begin(), kDTypes.end(), std::back_inserter(names),
                     [](const DTypeSize& d) { return d.name; });
      fail(fmt::format("unknown dtype '{}' (known: {})", value.substr(0, 40), fmt::join(names, ", ")));
    }
    entry_.dtype = found->name;
    element_bytes_ = found->bytes;
    return true;
  }

  bool start_object(std::size_t) override {
    if (place_ == Place::outside) {
      place_ = Place::top;
    } else if (place_ == Place::top) {
      place_ = key_ == "__metadata__" ? Place::metadata : Place::tensor;
      keys_.clear();
      entry_ = {};
      offsets_.clear();
      entry_.name = key_;
    } else {
      return unexpected("an object");
    }
    return true;
  }

  bool key(string_t& value) override {
    if (!(place_ == Place::top ? names_ : keys_).insert(value).second) {
      fail(fmt::format("the name '{}' is there twice", value.substr(0, 200)));
    }
    if (place_ == Place::tensor && value != "dtype" && value != "shape" && value != "data_offsets") {
      fail(fmt::format("unknown field '{}' (known: dtype, shape, data_offsets)", value.substr(0, 200)));
    }
    key_ = value;
    return true;
  }

  bool end_object() override {
    if (place_ == Place::tensor) {
      finish_tensor();
    }
    place_ = place_ == Place::top ? Place::outside : Place::top;
    return true;
  }

  bool start_array(std::size_t) override {
    if (place_ != Place::tensor || key_ == "dtype") {
      return unexpected("an array");
    }
    place_ = Place::list;
    return true;
  }

  bool end_array() override {
    place_ = Place::tensor;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    throw InputError(
        fmt::format("{}: the header is not valid JSON (near byte {} of the header)", path_, position));
  }

 private:
  enum class Place { outside, top, metadata, tensor, list };

  [[noreturn]] void fail(const std::string& what) const {
    if (place_ == Place::tensor || place_ == Place::list) {
      throw InputError(fmt::format("{}: tensor '{}': {}", path_, entry_.name.substr(0, 200), what));
    }
    throw InputError(fmt::format("{}: header: {}", path_, what));
  }

  [[noreturn]] bool unexpected(const std::string& what) const {
    switch (place_) {
      case Place::outside:
        fail(what + " where the object of tensors should be");
      case Place::top:
        fail(fmt::format("'{}' is {}, not an object", key_.substr(0, 200), what));
      case Place::metadata:
        fail(fmt::format("__metadata__: '{}' is {}, not a string", key_.substr(0, 200), what));
      case Place::tensor:
        fail(fmt::format("{} is {}, not {}", key_, what, key_ == "dtype" ? "a string" : "an array"));
      case Place::list:
        fail(fmt::format("{} holds {}, not a whole number from 0 to 2^63 - 1", key_, what));
    }
    fail(what);
  }

  void finish_tensor() {
    for (const char* const field : {"dtype", "shape", "data_offsets"}) {
      if (!keys_.contains(field)) {
        fail(fmt::format("{} is missing", field));
      }
    }
    if (offsets_.size() != 2) {
      fail(fmt::format("data_offsets holds {} numbers, not 2", offsets_.size()));
    }
    if (offsets_[0] > offsets_[1]) {
      fail(fmt::format("data_offsets [{}, {}] go backwards", offsets_[0], offsets_[1]));
    }
    std::int64_t bytes = element_bytes_;
    bool too_large = false;
    for (const std::int64_t dimension : entry_.shape) {
      too_large |= __builtin_mul_overflow(bytes, dimension, &bytes);
    }
    if (too_large) {
      fail(fmt::format("shape [{}] is too large", fmt::join(entry_.shape, ", ")));
    }
    entry_.size = offsets_[1] - offsets_[0];
    if (entry_.size != bytes) {
      fail(fmt::format("data_offsets span {} bytes but shape [{}] of {} takes {}", entry_.size,
                       fmt::join(entry_.shape, ", "), entry_.dtype, bytes));
    }
    if (__builtin_add_overflow(offsets_[0], data_begin_, &entry_.begin)) {
      fail(fmt::format("data_offsets [{}, {}] lie outside of the file", offsets_[0], offsets_[1]));
    }
    entries_.push_back(std::move(entry_));
  }

  const std::string& path_;
  std::int64_t data_begin_;
  Place place_ = Place::outside;
  std::string key_;
  std::set<std::string> names_;  // of tensors
  std::set<std::string> keys_;   // of the object being read
  SafetensorsEntry entry_;       // the tensor being read
  std::int64_t element_bytes_ = 0;
  std::vector<std::int64_t> offsets_;
  std::vector<SafetensorsEntry> entries_;
};

/// The tensors must fill the data of the file without overlap, hole or rest.
void check_coverage(std::span<const SafetensorsEntry> entries, std::int64_t data_begin,
                    std::int64_t file_size, const std::string& path) {
  std::int64_t end = data_begin;
  for (const SafetensorsEntry& entry : entries) {
    if (entry.begin != end) {
      throw InputError(
          fmt::format("{}: tensor '{}': its data begins at byte {} of the data, {} (expected {})", path,
                      entry.name.substr(0, 200), entry.begin - data_begin,
                      entry.begin < end ? "overlapping the tensor before it" : "leaving a hole before it",
                      end - data_begin));
    }
    if (entry.size > file_size - entry.begin) {
      throw InputError(fmt::format(
          "{}: tensor '{}': its data ends at byte {} of the data, which has only {} (is the "
          "file truncated?)",
          path, entry.name.substr(0, 200), entry.begin - data_begin + entry.size, file_size - data_begin));
    }
    end = entry.begin + entry.size;
  }
  if (end != file_size) {
    throw InputError(fmt::format("{}: {} bytes after the last tensor belong to none", path, file_size - end));
  }
}

}  // namespace

std::vector<SafetensorsEntry> parse_safetensors(std::span<const std::byte> file, const std::string& path) {
  if (file.size() < kLengthBytes) {
    throw InputError(fmt::format("{}: {} bytes are too few for a safetensors file", path, file.size()));
  }
  std::uint64_t length = 0;
  for (std::size_t i = 0; i < kLengthBytes; ++i) {
    length |= std::to_integer<std::uint64_t>(file[i]) << (8 * i);
  }
  if (length > kMaxHeader) {
    throw InputError(
        fmt::format("{}: a header of {} bytes (at most {} are allowed); is this a safetensors file?", path,
                    length, kMaxHeader));
  }
  if (length > file.size() - kLengthBytes) {
    throw InputError(fmt::format("{}: a header of {} bytes in a file of {}", path, length, file.size()));
  }
  const char* const header = reinterpret_cast<const char*>(file.data()) + kLengthBytes;
  if (length == 0 || *header != '{') {
    throw InputError(fmt::format("{}: the header does not begin with '{{'", path));
  }
  const auto data_begin = static_cast<std::int64_t>(kLengthBytes + length);
  HeaderReader reader(path, data_begin);
  nlohmann::json::sax_parse(header, header + length, &reader);
  std::vector<SafetensorsEntry> entries = reader.take();
  std::sort(entries.begin(), entries.end(), [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
    return std::pair(a.begin, a.size) < std::pair(b.begin, b.size);
  });
  check_coverage(entries, data_begin, static_cast<std::int64_t>(file.size()), path);
  return entries;
}

namespace {

std::span<const std::byte> map_file(const std::filesystem::path& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) {
    throw InputError(fmt::format("{}: cannot be opened: {}", path.string(), std::strerror(errno)));
  }
  struct stat status = {};
  if (::fstat(file, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(file);
    throw InputError(fmt::format("{}: not a regular file", path.string()));
  }
  const auto size = static_cast<std::size_t>(status.st_size);
  if (size == 0) {
    ::close(file);
    return {};
  }
  void* const memory = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file, 0);
  const int error = errno;
  ::close(file);
  if (memory == MAP_FAILED) {
    throw InputError(fmt::format("{}: cannot be mapped: {}", path.string(), std::strerror(error)));
  }
  return {static_cast<const std::byte*>(memory), size};
}

void unmap(std::span<const std::byte> mapping) {
  if (!mapping.empty()) {
    ::munmap(const_cast<std::byte*>(mapping.data()), mapping.size());
  }
}

}  // namespace

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) : path_(path), mapping_(map_file(path)) {
  try {
    entries_ = parse_safetensors(mapping_, path_.string());
  } catch (...) {
    unmap(mapping_);
    throw;
  }
}

SafetensorsFile::~SafetensorsFile() {
  unmap(mapping_);
}

SafetensorsFile::SafetensorsFile(SafetensorsFile&& other) noexcept
    : path_(std::move(other.path_)),
      mapping_(std::exchange(other.mapping_, {})),
      entries_(std::move(other.entries_)) {}

std::span<const std::byte> SafetensorsFile::bytes(const SafetensorsEntry& entry) const {
  return mapping_.subspan(static_cast<std::size_t>(entry.begin), static_cast<std::size_t>(entry.size));
}

}  // namespace pagelab
