// TokenPauses: the times between one token of a request and its next, over all requests (time between tokens;
// what a stall makes long). Gathered step by step into a histogram, so that memory grows with the number of
// requests only: count, mean and maximum are exact, percentiles are off by less than 0.4 %.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "core/step.h"
#include "experiments/distribution.h"

namespace pagelab {

class TokenPauses {
 public:
  /// Takes the groups that draw tokens at the end of the step. The sequences of a group draw them together
  /// and count once.
  void on_step(const StepRecord& record, std::span<const Decision> decisions);

  Distribution distribution() const;

 private:
  // A bucket is an exponent and the first 7 bits of the mantissa of a double: from 2^-24 s to 2^24 s.
  static constexpr int mantissa_bits = 7, least_exponent = -24, most_exponent = 24;
  static constexpr std::size_t buckets = (most_exponent - least_exponent) << mantissa_bits;

  static std::size_t bucket_of(double seconds);
  static double middle_of(std::size_t bucket);
  void add(double seconds, std::int64_t times);
  double percentile(double fraction) const;

  std::array<std::int64_t, buckets> counts_{};
  std::int64_t count_ = 0;
  double sum_ = 0, max_ = 0;
  Seconds last_end_{-1};        ///< of the step before
  std::vector<Seconds> drawn_;  ///< by request: when its last tokens were there; negative: not yet
};

}  // namespace pagelab
