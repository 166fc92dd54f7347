#include "core/error.h"

#include <cstdio>
#include <cstdlib>

namespace pagelab {

void invariant_failed(const char* condition, const char* file, int line, const std::string& detail) {
  std::fprintf(stderr, "%s:%d: broken invariant: %s\n%s\n", file, line, condition, detail.c_str());
  std::fflush(nullptr);
  std::abort();
}

}  // namespace pagelab
