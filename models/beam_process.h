// BeamProcess: the log-probabilities of the best next tokens of a language model that is not there, so that
// beam search on a simulated device splits and drops beams as it would on a real one. Only the candidates of
// beam search are made here; what a sampled token is does not matter to a simulation.
//
// The model, none of it taken from the figures that it is compared with:
//  * The entropy H of the next-token distribution differs from place to place: after most tokens a language
//    model is nearly sure, after some many go. H is drawn from an exponential distribution, the least
//    informed one with a given mean. Its mean is ln(10.13) = 2.32 nats, from the perplexity of OPT-13B on
//    WikiText-2 (GPTQ, Frantar et al., 2023): for a calibrated model the two are the same.
//  * Given H, the probability of the r-th likeliest token is Zipf's, proportional to r^-s, with the s for
//    which the vocabulary's distribution has entropy H. H is clipped to what such an s exists for.
//  * Each beam draws its own H in each position. This is the main simplification: beams of one request differ
//    in few words, and real ones are open in similar places. Beams that draw independently overtake one
//    another more often, and so merge sooner and share more blocks, than beams that draw alike.
// It is not fitted: of OPT-13B's blocks on Alpaca, beams of 2, 4 and 6 save 39, 57 and 63 % (alike: 25, 38
// and 42 %), where the SOSP'23 paper's Figure 15 has 37.6, 53.1 and 55.2 %.
//
// A draw is addressed by the row's seed, stream (the beam) and position: it has no state, and does not depend
// on what else is in the batch.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/device.h"

namespace pagelab {

class BeamProcess {
 public:
  /// Requires a vocabulary of at least 2.
  explicit BeamProcess(std::int32_t vocabulary);

  /// Fills `out` with the likeliest tokens, likeliest first; token ids are their ranks from 0. Requires
  /// out.size() <= vocabulary and, since beams are at most 256 wide, out.size() <= 512.
  void draw(const SampleRow& row, std::span<TokenCandidate> out) const;

  /// Mean of H over the process's own table, in nats.
  double mean_entropy() const;

 private:
  /// Zipf's exponent, its normaliser (log of the sum of r^-s) and its entropy.
  struct Law {
    double exponent;
    double log_sum;
    double entropy;
  };
  static Law law(double exponent, std::int32_t vocabulary);
  static Law law_of_entropy(double entropy, std::int32_t vocabulary);

  std::vector<Law> quantiles_;     ///< of H, in the middle of equally likely intervals
  std::vector<double> log_ranks_;  ///< ln 1, ln 2, ...
};

}  // namespace pagelab
