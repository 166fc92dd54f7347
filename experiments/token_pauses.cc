#include "experiments/token_pauses.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace pagelab {

namespace {

constexpr int kMantissa = 52;
constexpr std::uint64_t kExponentBias = 1023;

}  // namespace

std::size_t TokenPauses::bucket_of(double seconds) {
  constexpr std::uint64_t first = (kExponentBias + static_cast<std::uint64_t>(std::int64_t{least_exponent}))
                                  << mantissa_bits;
  if (!(seconds > 0)) {
    return 0;
  }
  const std::uint64_t key = std::bit_cast<std::uint64_t>(seconds) >> (kMantissa - mantissa_bits);
  return key < first ? 0 : std::min<std::size_t>(key - first, buckets - 1);
}

double TokenPauses::middle_of(std::size_t bucket) {
  const auto octave = static_cast<int>(bucket >> mantissa_bits);
  const auto part = static_cast<double>(bucket & ((1u << mantissa_bits) - 1));
  return std::ldexp(1 + (part + 0.5) / (1 << mantissa_bits), least_exponent + octave);
}

void TokenPauses::add(double seconds, std::int64_t times) {
  counts_[bucket_of(seconds)] += times;
  count_ += times;
  sum_ += seconds * static_cast<double>(times);
  max_ = std::max(max_, seconds);
}

void TokenPauses::on_step(const StepRecord& record, std::span<const Decision> decisions) {
  const Seconds end = record.time + record.duration;
  std::int64_t steady = 0;  // groups that drew tokens in the step before, too: most of them
  for (const Decision& decision : decisions) {
    if (!decision.completes) {
      continue;
    }
    const std::size_t request = decision.group->request.id.index();
    if (request >= drawn_.size()) {
      drawn_.resize(request + 1, Seconds(-1));
    }
    Seconds& drawn = drawn_[request];
    if (drawn == last_end_ && drawn >= Seconds(0)) {
      ++steady;
    } else if (drawn >= Seconds(0)) {
      add((end - drawn).value(), 1);
    }
    drawn = end;
  }
  if (steady > 0) {
    add((end - last_end_).value(), steady);
  }
  last_end_ = end;
}

double TokenPauses::percentile(double fraction) const {
  const auto rank = static_cast<std::int64_t>(std::ceil(fraction * static_cast<double>(count_)));
  std::int64_t below = 0;
  for (std::size_t bucket = 0; bucket < buckets; ++bucket) {
    below += counts_[bucket];
    if (below >= rank && counts_[bucket] > 0) {
      return std::min(middle_of(bucket), max_);
    }
  }
  return 0;
}

Distribution TokenPauses::distribution() const {
  if (count_ == 0) {
    return {};
  }
  return {.count = count_,
          .mean = sum_ / static_cast<double>(count_),
          .p50 = percentile(0.5),
          .p90 = percentile(0.9),
          .p99 = percentile(0.99),
          .max = max_};
}

}  // namespace pagelab
