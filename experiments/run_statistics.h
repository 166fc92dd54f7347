// RunStatistics: what a run comes to, gathered while it goes on: counts, sums over steps, and each finished
// request's latencies. Plain arithmetic; it writes nothing (see summary.h).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "core/step.h"
#include "experiments/distribution.h"
#include "experiments/request_metrics.h"
#include "experiments/token_pauses.h"

namespace pagelab {

/// Percentiles interpolate linearly between the closest ranks (as NumPy does by default). Reorders `values`.
Distribution describe(std::vector<double>& values);

/// The states of a slot, in the order of the ledger and of steps.csv.
inline constexpr std::array<const char*, 6> slot_states = {"token",    "cached",   "reserved",
                                                           "internal", "external", "free"};

/// The finished requests of one client.
struct ClientStatistics {
  std::int64_t finished = 0;
  Tokens output;
  double normalized_latency_s = 0, ttft_s = 0;  ///< sums
};

class RunStatistics {
 public:
  void on_step(const StepRecord& record, std::span<const Decision> decisions = {});
  void on_finish(const RequestMetrics& metrics);
  void on_refuse() { ++refused; }
  void on_unfinished() { ++unfinished; }

  // Shares of the pool in each slot state, averaged; 0 before the first step.
  std::array<double, 6> shares_over_time() const;
  std::array<double, 6> shares_over_steps() const;
  /// Groups that held blocks, averaged.
  double running_over_time() const;
  double running_over_steps() const;
  /// 1 - physical / logical blocks, each summed over time or over steps (PagedAttention paper, section 6.3).
  double sharing_saving_over_time() const;
  double sharing_saving_over_steps() const;

  std::int64_t steps = 0, finished = 0, refused = 0, unfinished = 0;
  std::int32_t max_running = 0;
  double busy_s = 0;  ///< sum of the steps' durations
  Seconds end;        ///< when the last step ended
  Tokens prefill, decode, recomputed, output;
  Tokens prompts, hits;  ///< of finished requests; hits: in the prefix cache when they were first admitted
  std::int64_t evictions = 0, evicted_then_needed = 0;
  std::int64_t preempt_recompute = 0, preempt_swap = 0;
  Blocks copied;
  Bytes swapped_in, swapped_out;
  std::vector<double> normalized_latency_s, ttft_s, tpot_s, latency_s;
  std::int64_t deadlines = 0, deadlines_met = 0;  ///< of finished requests
  std::vector<ClientStatistics> clients;          ///< by number
  TokenPauses pauses;

 private:
  std::array<double, 6> share_seconds_{};
  std::array<double, 6> share_steps_{};
  double running_seconds_ = 0, physical_seconds_ = 0, logical_seconds_ = 0;
  std::int64_t running_steps_ = 0;
  Blocks physical_steps_, logical_steps_;
};

}  // namespace pagelab
