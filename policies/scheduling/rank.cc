// Rank: the shortest predicted output first, where the prediction orders requests with a given Kendall tau
// against their true lengths (Efficient LLM Scheduling by Learning to Rank, NeurIPS 2024, without its
// starvation counter).
//
// With a probability q the prediction is the true length, else that of some earlier request, drawn at random.
// Of two requests, both predicted right are in order; both drawn agree with the truth as often as not; of one
// each, tau is E[(2 F(x) - 1)^2] = 1/3 for the distribution F of lengths. So tau = q^2 + 2 q (1 - q) / 3
// whatever F is (pairs of equal lengths left out), and q = sqrt(1 + 3 tau) - 1.
#include <cmath>
#include <vector>

#include "core/policy_registry.h"
#include "core/random.h"

namespace pagelab {
namespace {

class Rank final : public SchedulingPolicy {
 public:
  Rank(const Parameters& parameters, const Oracle& oracle)
      : oracle_(oracle),
        true_share_(std::sqrt(1 + 3 * parameters.real("kendall_tau")) - 1),
        random_(static_cast<std::uint64_t>(parameters.integer("seed")), "rank") {}

  double key(const GroupView& group, Seconds) override {
    const std::int64_t length = oracle_.output_tokens(group).value();
    lengths_.push_back(length);
    const bool right = random_.uniform() < true_share_;
    const std::uint64_t drawn = random_.below(lengths_.size());
    return static_cast<double>(right ? length : lengths_[drawn]);
  }

 private:
  Oracle oracle_;
  double true_share_;
  RandomStream random_;
  std::vector<std::int64_t> lengths_;  ///< of the requests so far
};

}  // namespace

void register_scheduling_rank(PolicyRegistry& registry) {
  registry.add<SchedulingPolicy, Rank>(
      {.name = "rank",
       .summary = "the shortest output first, by a prediction of given quality",
       .source = "Efficient LLM Scheduling by Learning to Rank (NeurIPS 2024)",
       .parameters = {{.name = "kendall_tau",
                       .default_value = 0.5,
                       .help = "of the predicted order against that of the true lengths",
                       .minimum = 0,
                       .maximum = 1},
                      {.name = "seed",
                       .default_value = std::int64_t{1},
                       .help = "of the predictions' errors",
                       .minimum = 0}}});
}

}  // namespace pagelab
