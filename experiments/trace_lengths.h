// TraceLengths: the requests of a trace file as a LengthSource, in the order of the file, again from its
// beginning where more are wanted, or shuffled. Where the experiment gives histograms too, they say how long
// prompts and outputs are, and the trace which of them go together. The file is read once, when the source is
// made, and no further than needed (for histograms, to its end: a rank is one among all rows); what stays in
// memory are flat arrays of its lengths, and where the trace has them of its time stamps and block ids.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "experiments/lengths.h"
#include "experiments/trace.h"

namespace pagelab {

/// The keys of [workload.lengths] with kind = "trace".
std::vector<ParameterSpec> trace_length_parameters();

class TraceLengths final : public LengthSource {
 public:
  /// Throws InputError: what TraceReader reports, no row left, block ids that do not fit their prompts.
  TraceLengths(const KindChoice& choice, const LengthContext& context);

  RequestShape next() override;
  /// None if the trace is repeated.
  std::optional<std::int64_t> total() const override;
  /// Only as the file has them: neither repeated nor shuffled.
  bool has_stamps() const override { return !stamps_.empty(); }
  std::optional<Seconds> stamp(std::int64_t request) const override;

 private:
  void read(TraceReader& reader, const Parameters& p, std::int64_t requests);
  void add(const TraceRow& row);
  /// Takes the lengths from the histograms that are given, the shortest for the row with the shortest.
  void fit_margins(const KindChoice& choice);
  /// Leaves the first `requests` rows; 0: all.
  void cut(std::int64_t requests);
  void shuffle(const LengthContext& context);

  bool repeat_;
  std::int64_t clip_prompt_, clip_output_;
  double scale_;
  std::int64_t block_tokens_;

  bool has_slacks_;

  // One entry per row; all but the first two are empty if the trace has no such thing.
  std::vector<std::int32_t> prompts_, outputs_;
  std::vector<Seconds> stamps_;
  std::vector<std::int32_t> clients_, priorities_;
  static constexpr Seconds no_slack{-1};
  std::vector<Seconds> slacks_;          ///< from arrival to deadline
  std::vector<std::size_t> blocks_end_;  ///< where the ids of a row end in blocks_
  std::vector<std::uint64_t> blocks_;

  std::vector<std::uint32_t> order_;  ///< rows of the requests, shuffled; empty: as in the file
  std::size_t position_ = 0;          ///< of the next request
};

}  // namespace pagelab
