// Random numbers: one seeded stream per subsystem, named by a string, so that drawing more in one place never
// shifts another. Counter-based (Philox 4x32-10: Salmon et al., SC 2011), so a draw can also be addressed by
// its position without state, on any device. Distributions are our own: the standard library's differ by
// vendor.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace pagelab {

/// Philox 4x32-10: the 128 random bits of `counter` under `key`.
std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key);

/// A seed for the subsystem `name` (and item `index` of it) of an experiment seeded with `seed`.
std::uint64_t derive_seed(std::uint64_t seed, std::string_view name, std::uint64_t index = 0);

/// A stream of draws. Copying it copies its position.
class RandomStream {
 public:
  RandomStream(std::uint64_t seed, std::string_view subsystem);

  std::uint64_t bits();
  /// In [0, 1), 53 bits.
  double uniform();
  /// In [0, bound), unbiased. Requires bound > 0.
  std::uint64_t below(std::uint64_t bound);
  /// Mean 1 / rate. Requires rate > 0.
  double exponential(double rate);
  double normal();
  /// Mean shape * scale (Marsaglia and Tsang, 2000). Requires shape > 0, scale > 0.
  double gamma(double shape, double scale);

 private:
  std::array<std::uint32_t, 2> key_;
  std::uint64_t counter_ = 0;
};

}  // namespace pagelab
