// NumpyRandom: the numbers that numpy.random.seed(seed) and what follows draw (NumPy's legacy generator,
// which NumPy keeps as it is), for workloads that somebody drew with it. Everything of pagelab's own draws
// from core/random.h.
#pragma once

#include <cmath>
#include <cstdint>
#include <random>

namespace pagelab {

class NumpyRandom {
 public:
  explicit NumpyRandom(std::uint32_t seed) : random_(seed) {}

  /// In [0, 1).
  double uniform() {
    const auto high = static_cast<double>(random_() >> 5), low = static_cast<double>(random_() >> 6);
    return (high * 67108864.0 + low) / 9007199254740992.0;
  }
  /// Requires 0 < mean < 10: NumPy has another method for larger ones.
  std::int32_t poisson(double mean) {
    const double limit = std::exp(-mean);
    std::int32_t count = -1;
    for (double product = 1; product > limit; product *= uniform()) {
      ++count;
    }
    return count;
  }

 private:
  std::mt19937 random_;
};

}  // namespace pagelab
