// Distribution: a set of numbers in a few words.
#pragma once

#include <cstdint>

namespace pagelab {

/// All 0 when there are no numbers.
struct Distribution {
  std::int64_t count = 0;
  double mean = 0, p50 = 0, p90 = 0, p99 = 0, max = 0;
};

}  // namespace pagelab
