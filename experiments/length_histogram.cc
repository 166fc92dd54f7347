#include "experiments/length_histogram.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "experiments/length_parameters.h"

namespace pagelab {

std::vector<ParameterSpec> histogram_parameters(bool required) {
  const auto list = [&](const char* name, const char* unit, const char* help, int minimum) {
    return ParameterSpec{.name = name,
                         .default_value = IntegerList{},
                         .unit = unit,
                         .help = help,
                         .minimum = minimum,
                         .maximum = minimum == 0 ? 1e12 : static_cast<double>(longest_length),
                         .required = required};
  };
  return {
      list("prompt_edges", "tokens", "lower edges of the bins, and the end of the last one (exclusive)", 1),
      list("prompt_counts", "", "requests in each bin", 0),
      list("output_edges", "tokens", "lower edges of the bins, and the end of the last one (exclusive)", 1),
      list("output_counts", "", "requests in each bin", 0)};
}

LengthHistogram::LengthHistogram(const KindChoice& choice, const std::string& what)
    : edges_(choice.parameters.integers(what + "_edges")) {
  const IntegerList& counts = choice.parameters.integers(what + "_counts");
  if (edges_.size() != counts.size() + 1) {
    choice.table.fail(what + "_edges", fmt::format("has {} edges; {} bins in {}_counts need {}",
                                                   edges_.size(), counts.size(), what, counts.size() + 1));
  }
  if (std::ranges::adjacent_find(edges_, std::greater_equal<>()) != edges_.end()) {
    choice.table.fail(what + "_edges", "must grow from edge to edge");
  }
  std::uint64_t sum = 0;
  for (const std::int64_t count : counts) {
    sum += static_cast<std::uint64_t>(count);  // counts are at most 1e12, so many millions of bins fit
    cumulative_.push_back(sum);
  }
  if (sum == 0) {
    choice.table.fail(what + "_counts", "holds no count above 0");
  }
}

Tokens LengthHistogram::draw(RandomStream& random) const {
  const std::uint64_t place = random.below(cumulative_.back());
  const auto bin =
      static_cast<std::size_t>(std::ranges::upper_bound(cumulative_, place) - cumulative_.begin());
  const auto width = static_cast<std::uint64_t>(edges_[bin + 1] - edges_[bin]);
  return Tokens(edges_[bin] + static_cast<std::int64_t>(random.below(width)));
}

Tokens LengthHistogram::quantile(double share) const {
  const double place = share * static_cast<double>(cumulative_.back());
  const auto bin = static_cast<std::size_t>(
      std::ranges::upper_bound(cumulative_, static_cast<std::uint64_t>(place)) - cumulative_.begin());
  const auto before = static_cast<double>(bin == 0 ? 0 : cumulative_[bin - 1]);
  const double inside = (place - before) / (static_cast<double>(cumulative_[bin]) - before);
  const auto width = static_cast<double>(edges_[bin + 1] - edges_[bin]);
  return Tokens(edges_[bin] + static_cast<std::int64_t>(inside * width));
}

}  // namespace pagelab
