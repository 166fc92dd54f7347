#include "experiments/file_hash.h"

#include <cstdint>

#include <fmt/format.h>

#include "core/config.h"

namespace pagelab {

std::string content_hash(std::string_view content) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : content) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  }
  return fmt::format("fnv1a64:{:016x}", hash);
}

std::string file_hash(const std::filesystem::path& file) {
  return content_hash(read_text_file(file));
}

}  // namespace pagelab
