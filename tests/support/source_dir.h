// Where the project's files lie, for tests that read golden files, examples and device descriptions. The path
// is compiled into one generated source (source_dir.cc.in), so that all others are the same in every
// checkout.
#pragma once

#include <filesystem>

namespace pagelab::test {

/// The folder of the checkout that was built; absolute.
std::filesystem::path source_dir();

}  // namespace pagelab::test
