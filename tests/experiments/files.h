// Files of the tests: small ones that a test writes, and the traces that lie beside the project, if they do.
#pragma once

#include <gtest/gtest.h>
#include <lzma.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "tests/support/source_dir.h"
#include "tests/support/temporary_folder.h"

namespace pagelab::test {

inline std::string xz_compressed(std::string_view text) {
  std::vector<std::uint8_t> out(text.size() + 4096);
  std::size_t size = 0;
  const auto status = lzma_easy_buffer_encode(6, LZMA_CHECK_CRC64, nullptr,
                                              reinterpret_cast<const std::uint8_t*>(text.data()), text.size(),
                                              out.data(), &size, out.size());
  EXPECT_EQ(status, LZMA_OK);
  return {reinterpret_cast<const char*>(out.data()), size};
}

/// The folder of traces: PAGELAB_SHARED/traces, or shared/traces beside the project.
inline std::filesystem::path traces() {
  const char* shared = std::getenv("PAGELAB_SHARED");
  return (shared != nullptr ? std::filesystem::path(shared) : source_dir() / ".." / "shared") / "traces";
}

inline bool in_ci() {
  const char* ci = std::getenv("CI");
  return ci != nullptr && std::string_view(ci) == "true";
}

/// What `body` throws as InputError; "no error" if nothing.
template <class Body>
std::string error_of(Body body) {
  try {
    body();
  } catch (const InputError& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace pagelab::test

/// Skips a test that needs the traces where they are not there, and fails it in CI.
#define PAGELAB_NEED_TRACES()                                                                              \
  if (!std::filesystem::exists(::pagelab::test::traces())) {                                               \
    ASSERT_FALSE(::pagelab::test::in_ci()) << "no traces at " << ::pagelab::test::traces();                \
    GTEST_SKIP() << "no traces at " << ::pagelab::test::traces() << "; PAGELAB_SHARED names their parent"; \
  }                                                                                                        \
  static_assert(true)
