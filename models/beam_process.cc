#include "models/beam_process.h"

#include <algorithm>
#include <cmath>

#include "core/random.h"

namespace pagelab {
namespace {

/// Perplexity of OPT-13B on WikiText-2, token by token.
constexpr double kPerplexity = 10.13;
/// Places at which a model is surer than this (the runner-up has 2^-30 of the winner's probability) are
/// alike.
constexpr double kSteepest = 30;
constexpr std::size_t kQuantiles = 256;
constexpr int kMostCandidates = 512;

}  // namespace

BeamProcess::Law BeamProcess::law(double exponent, std::int32_t vocabulary) {
  // The first ranks one by one, the rest by the Euler-Maclaurin formula's first two terms.
  constexpr std::int32_t kExact = 32;
  const std::int32_t exact = std::min(kExact, vocabulary);
  double sum = 0;      // of r^-s
  double log_sum = 0;  // of r^-s ln r
  for (std::int32_t r = 1; r <= exact; ++r) {
    const double weight = std::pow(r, -exponent);
    sum += weight;
    log_sum += weight * std::log(r);
  }
  if (exact < vocabulary) {
    const double a = exact;
    const double b = vocabulary;
    const double t = 1 - exponent;
    const bool harmonic = std::abs(t) < 1e-5;
    const auto integral = [&](double x) { return harmonic ? std::log(x) : std::pow(x, t) / t; };
    const auto log_integral = [&](double x) {
      const double l = std::log(x);
      return harmonic ? l * l / 2 : std::pow(x, t) * (l / t - 1 / (t * t));
    };
    const double at_a = std::pow(a, -exponent);
    const double at_b = std::pow(b, -exponent);
    sum += integral(b) - integral(a) + (at_b - at_a) / 2;
    log_sum += log_integral(b) - log_integral(a) + (at_b * std::log(b) - at_a * std::log(a)) / 2;
  }
  return {exponent, std::log(sum), std::log(sum) + exponent * log_sum / sum};
}

BeamProcess::Law BeamProcess::law_of_entropy(double entropy, std::int32_t vocabulary) {
  double flat = 0;  // entropy falls as the exponent grows
  double steep = kSteepest;
  for (int halving = 0; halving < 24; ++halving) {
    const double middle = (flat + steep) / 2;
    (law(middle, vocabulary).entropy > entropy ? flat : steep) = middle;
  }
  return law((flat + steep) / 2, vocabulary);
}

BeamProcess::BeamProcess(std::int32_t vocabulary) {
  quantiles_.reserve(kQuantiles);
  for (std::size_t i = 0; i < kQuantiles; ++i) {
    const double share = (static_cast<double>(i) + 0.5) / kQuantiles;
    quantiles_.push_back(law_of_entropy(-std::log(kPerplexity) * std::log1p(-share), vocabulary));
  }
  for (int rank = 1; rank <= kMostCandidates; ++rank) {
    log_ranks_.push_back(std::log(rank));
  }
}

void BeamProcess::draw(const SampleRow& row, std::span<TokenCandidate> out) const {
  const auto bits = philox({row.stream, row.position, 0, 0}, {static_cast<std::uint32_t>(row.seed),
                                                              static_cast<std::uint32_t>(row.seed >> 32)});
  const Law& law = quantiles_[bits[0] % kQuantiles];
  for (std::size_t i = 0; i < out.size(); ++i) {
    const double logprob = -law.exponent * log_ranks_[i] - law.log_sum;
    out[i] = {static_cast<TokenId>(i), static_cast<float>(logprob)};
  }
}

double BeamProcess::mean_entropy() const {
  double sum = 0;
  for (const Law& law : quantiles_) {
    sum += law.entropy;
  }
  return sum / static_cast<double>(quantiles_.size());
}

}  // namespace pagelab
