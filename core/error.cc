#include "core/error.h"

#include <cstdio>
#include <cstdlib>

namespace pagelab {

void rethrow_broken(std::string_view axis) {
  try {
    throw;
  } catch (const std::exception& error) {
    throw BrokenRule(axis, "it threw '" + std::string(error.what()) + "'");
  } catch (...) {
    throw BrokenRule(axis, "it threw what is no std::exception");
  }
}

void invariant_failed(const char* condition, const char* file, int line, const std::string& detail) {
  std::fprintf(stderr, "%s:%d: broken invariant: %s\n%s\n", file, line, condition, detail.c_str());
  std::fflush(nullptr);
  std::abort();
}

}  // namespace pagelab
