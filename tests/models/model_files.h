// Builds model folders on disk for tests: safetensors files, good and bad, in a temporary folder that goes
// away.
#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tests/support/temporary_folder.h"

namespace pagelab::test {

/// The 8 bytes of length, the header, `data_bytes` zeros.
inline std::string safetensors_text(const std::string& header, std::size_t data_bytes) {
  std::string text;
  for (int i = 0; i < 8; ++i) {
    text.push_back(static_cast<char>(header.size() >> (8 * i) & 0xFF));
  }
  return text + header + std::string(data_bytes, '\0');
}

struct FileTensor {
  std::string name;
  std::vector<std::int64_t> shape;
  std::string dtype = "F32";
  std::size_t element_bytes = 4;
};

/// A valid file of zeros. `misalign` puts the data one byte off.
inline std::string safetensors_of(const std::vector<FileTensor>& tensors, bool misalign = false) {
  std::vector<std::string> entries;
  std::size_t offset = 0;
  for (const FileTensor& tensor : tensors) {
    std::size_t bytes = tensor.element_bytes;
    for (const std::int64_t dimension : tensor.shape) {
      bytes *= static_cast<std::size_t>(dimension);
    }
    entries.push_back(fmt::format(R"("{}":{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", tensor.name,
                                  tensor.dtype, fmt::join(tensor.shape, ","), offset, offset + bytes));
    offset += bytes;
  }
  std::string header = fmt::format("{{{}}}", fmt::join(entries, ","));
  header.append(7 - (header.size() + 7) % 8 + (misalign ? 1 : 0), ' ');
  return safetensors_text(header, offset);
}

}  // namespace pagelab::test
