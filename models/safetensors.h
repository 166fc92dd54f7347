// One safetensors file: 8 bytes of little-endian header length, a JSON header, the data of the tensors.
//
// The file is memory-mapped, so tensors are read from disk when they are used and cost no memory of ours.
// Everything the header says is checked against the file before any of it is believed: sizes, ranges,
// overlaps, holes. What it does not guard against: a file that is truncated or rewritten by somebody while it
// is open.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pagelab {

/// A tensor as the header describes it. `dtype` is one of the format's names (F32, BF16, I64, ...).
struct SafetensorsEntry {
  std::string name;
  std::string_view dtype;           ///< points to static text
  std::vector<std::int64_t> shape;  ///< no dimension is negative; the product fits
  std::int64_t begin = 0;           ///< bytes from the start of the file
  std::int64_t size = 0;            ///< bytes; the product of the shape times the size of the dtype
};

/// Reads the header of a whole file in memory; `path` is for the text of errors. The result is sorted by
/// position. Throws InputError that names the file, the tensor and what is wrong.
std::vector<SafetensorsEntry> parse_safetensors(std::span<const std::byte> file, const std::string& path);

/// A memory-mapped file and its entries. Owns the mapping; entries' bytes are valid as long as it lives.
class SafetensorsFile {
 public:
  /// Throws InputError if the file cannot be opened or is not valid.
  explicit SafetensorsFile(const std::filesystem::path& path);
  ~SafetensorsFile();
  SafetensorsFile(SafetensorsFile&& other) noexcept;
  SafetensorsFile& operator=(SafetensorsFile&&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::span<const SafetensorsEntry> entries() const { return entries_; }
  /// The tensor's bytes; not necessarily aligned to its dtype.
  std::span<const std::byte> bytes(const SafetensorsEntry& entry) const;

 private:
  std::filesystem::path path_;
  std::span<const std::byte> mapping_;
  std::vector<SafetensorsEntry> entries_;
};

}  // namespace pagelab
