#include "experiments/run_statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace pagelab {

namespace {

double percentile(const std::vector<double>& sorted, double fraction) {
  const double rank = fraction * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(rank);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (rank - std::floor(rank)) * (sorted[above] - sorted[below]);
}

std::array<double, 6> divided(std::array<double, 6> sums, double by) {
  for (double& sum : sums) {
    sum = by > 0 ? sum / by : 0;
  }
  return sums;
}

}  // namespace

Distribution describe(std::vector<double>& values) {
  if (values.empty()) {
    return {};
  }
  std::sort(values.begin(), values.end());
  const double sum = std::accumulate(values.begin(), values.end(), 0.0);
  return {.count = static_cast<std::int64_t>(values.size()),
          .mean = sum / static_cast<double>(values.size()),
          .p50 = percentile(values, 0.5),
          .p90 = percentile(values, 0.9),
          .p99 = percentile(values, 0.99),
          .max = values.back()};
}

void RunStatistics::on_step(const StepRecord& record, std::span<const Decision> decisions) {
  pauses.on_step(record, decisions);
  const SlotLedger& slots = record.slots;
  const double duration = record.duration.value();
  const double total = slots.total > Tokens(0) ? static_cast<double>(slots.total.value()) : 1.0;
  const std::array<Tokens, 6> states = {slots.token,    slots.cached,   slots.reserved,
                                        slots.internal, slots.external, slots.free};
  for (std::size_t i = 0; i < states.size(); ++i) {
    const double share = static_cast<double>(states[i].value()) / total;
    share_steps_[i] += share;
    share_seconds_[i] += share * duration;
  }
  running_seconds_ += record.running * duration;
  physical_seconds_ += static_cast<double>(record.blocks_physical.value()) * duration;
  logical_seconds_ += static_cast<double>(record.blocks_logical.value()) * duration;
  running_steps_ += record.running;
  physical_steps_ += record.blocks_physical;
  logical_steps_ += record.blocks_logical;
  ++steps;
  max_running = std::max(max_running, record.running);
  busy_s += duration;
  end = record.time + record.duration;
  prefill += record.tokens_prefill;
  decode += record.tokens_decode;
  recomputed += record.tokens_recomputed;
  preempt_recompute += record.preempt_recompute;
  preempt_swap += record.preempt_swap;
  copied += record.blocks_copied;
  swapped_in += record.bytes_swapped_in;
  swapped_out += record.bytes_swapped_out;
  evictions += record.evictions;
  evicted_then_needed += record.evicted_then_needed;
}

void RunStatistics::on_finish(const RequestMetrics& metrics) {
  ++finished;
  output += metrics.output_tokens;
  prompts += metrics.prompt_tokens;
  hits += metrics.hits;
  const auto keep = [](std::vector<double>& values, std::optional<double> value) {
    if (value) {
      values.push_back(*value);
    }
  };
  keep(normalized_latency_s, metrics.normalized_latency_s);
  keep(ttft_s, metrics.ttft_s);
  keep(tpot_s, metrics.tpot_s);
  keep(latency_s, metrics.latency_s);
  deadlines += metrics.deadline_met ? 1 : 0;
  deadlines_met += metrics.deadline_met.value_or(false) ? 1 : 0;
  const auto client = static_cast<std::size_t>(metrics.client);
  if (client >= clients.size()) {
    clients.resize(client + 1);
  }
  ++clients[client].finished;
  clients[client].output += metrics.output_tokens;
  clients[client].normalized_latency_s += metrics.normalized_latency_s.value_or(0);
  clients[client].ttft_s += metrics.ttft_s.value_or(0);
}

std::array<double, 6> RunStatistics::shares_over_time() const {
  return divided(share_seconds_, busy_s);
}
std::array<double, 6> RunStatistics::shares_over_steps() const {
  return divided(share_steps_, static_cast<double>(steps));
}
double RunStatistics::running_over_time() const {
  return busy_s > 0 ? running_seconds_ / busy_s : 0;
}
double RunStatistics::running_over_steps() const {
  return steps > 0 ? static_cast<double>(running_steps_) / static_cast<double>(steps) : 0;
}
double RunStatistics::sharing_saving_over_time() const {
  return logical_seconds_ > 0 ? 1 - physical_seconds_ / logical_seconds_ : 0;
}
double RunStatistics::sharing_saving_over_steps() const {
  return logical_steps_ > Blocks(0)
             ? 1 - static_cast<double>(physical_steps_.value()) / static_cast<double>(logical_steps_.value())
             : 0;
}

}  // namespace pagelab
