// ListLengths: requests one by one, as written into the experiment itself: lengths, and where wanted arrival
// times, clients, sequences and what prompts have in common. For cases small enough to be looked at, such as
// those that `pagelab check-policy` prints.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "experiments/lengths.h"

namespace pagelab {

/// The keys of [workload.lengths] with kind = "list".
std::vector<ParameterSpec> list_length_parameters();

class ListLengths final : public LengthSource {
 public:
  /// Throws InputError if the lists differ in length or times go back.
  ListLengths(const KindChoice& choice, const LengthContext& context);

  RequestShape next() override;
  std::optional<std::int64_t> total() const override { return static_cast<std::int64_t>(prompts_.size()); }
  bool has_stamps() const override { return !arrivals_.empty(); }
  std::optional<Seconds> stamp(std::int64_t request) const override;

 private:
  IntegerList prompts_, outputs_, clients_, sequences_, families_, common_;
  RealList arrivals_;
  std::size_t position_ = 0;  ///< of the next request
};

}  // namespace pagelab
