// LengthHistogram: integer counts of lengths over bins [edge i, edge i+1), uniform inside a bin. Lengths are
// drawn from it, or read off it by their rank.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/ids.h"
#include "core/parameters.h"
#include "core/random.h"
#include "experiments/workload_kinds.h"

namespace pagelab {

/// The keys prompt_edges, prompt_counts, output_edges and output_counts.
std::vector<ParameterSpec> histogram_parameters(bool required);

class LengthHistogram {
 public:
  /// From the keys `what`_edges and `what`_counts. Throws InputError if they do not fit each other, if the
  /// edges do not grow, or if nothing is counted.
  LengthHistogram(const KindChoice& choice, const std::string& what);

  /// A bin by its count, then a length uniformly inside it.
  Tokens draw(RandomStream& random) const;
  /// The length below which a share of `share` lies, rounded down. Requires 0 <= share < 1.
  Tokens quantile(double share) const;

 private:
  IntegerList edges_;
  std::vector<std::uint64_t> cumulative_;  ///< counts of the bins up to and with this one
};

}  // namespace pagelab
