// What the tests of the SIMT machine share: a launch of a lambda, under several schedules, and the error it
// ends with.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "kernels/emu/simt.h"

namespace pagelab::testing {

/// One block of `threads` threads.
inline void launch(std::uint32_t threads, const std::function<void()>& body, std::size_t shared_bytes = 0) {
  emu::run({{1}, {threads}, shared_bytes, "test"}, body);
}

/// Runs `body`, which launches, in order and under two random schedules.
template <class Body>
void under_schedules(Body body) {
  for (const std::uint64_t seed : {0, 1, 2}) {
    emu::set_schedule(seed);
    body();
  }
  emu::set_schedule(0);
}

/// How a launch ended; no kind if well.
struct Failure {
  std::optional<emu::KernelError::Kind> kind;
  std::string report;
  bool mentions(const std::string& text) const { return report.find(text) != std::string::npos; }
  bool mentions_line(int line) const { return mentions(":" + std::to_string(line)); }
};
inline Failure failure_of(std::uint32_t threads, const std::function<void()>& body,
                          std::size_t shared_bytes = 0) {
  try {
    launch(threads, body, shared_bytes);
  } catch (const emu::KernelError& error) {
    return {error.kind(), error.what()};
  }
  return {};
}

}  // namespace pagelab::testing
