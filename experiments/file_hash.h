// A hash of a file's content, by which a run folder tells what the run was given.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace pagelab {

/// "fnv1a64:" and 16 hexadecimal digits: FNV-1a, 64 bits.
std::string content_hash(std::string_view content);
/// That of a file's content. Throws InputError if it cannot be read.
std::string file_hash(const std::filesystem::path& file);

}  // namespace pagelab
