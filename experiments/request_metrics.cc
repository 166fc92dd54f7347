#include "experiments/request_metrics.h"

#include <algorithm>

namespace pagelab {

namespace {

constexpr std::uint64_t fnv_offset = 14695981039346656037u;
constexpr std::uint64_t fnv_prime = 1099511628211u;

/// One step per id, not per byte: as good for telling outputs apart, and four times as fast. Each sequence
/// ends with an id that no vocabulary has.
void hash(std::uint64_t& state, const std::vector<TokenId>& tokens) {
  const auto mix = [&state](TokenId token) {
    state = (state ^ static_cast<std::uint32_t>(token)) * fnv_prime;
  };
  for (const TokenId token : tokens) {
    mix(token);
  }
  mix(-1);
}

/// Calls `use` with the output of each sequence, the finished ones first.
template <class Use>
void for_each_output(const SequenceGroup& group, Use use) {
  for (const FinishedSequence& sequence : group.done) {
    use(sequence.output);
  }
  for (const Sequence& sequence : group.live) {
    use(sequence.output);
  }
}

}  // namespace

std::uint64_t output_hash(const SequenceGroup& group) {
  std::uint64_t state = fnv_offset;
  for_each_output(group, [&state](const std::vector<TokenId>& output) { hash(state, output); });
  return state;
}

RequestMetrics metrics_of(const SequenceGroup& group) {
  RequestMetrics metrics;
  metrics.prompt_tokens = Tokens(static_cast<std::int64_t>(group.request.prompt.size()));
  metrics.hits = group.hits;
  metrics.client = group.request.client;
  std::size_t longest = 0;
  const double latency = (group.finished - group.request.arrival).value();
  double normalized = 0;
  for_each_output(group, [&](const std::vector<TokenId>& output) {
    metrics.output_tokens += Tokens(static_cast<std::int64_t>(output.size()));
    ++metrics.sequences;
    longest = std::max(longest, output.size());
    normalized += output.empty() ? 0 : latency / static_cast<double>(output.size());
  });
  if (group.first_token >= Seconds(0)) {
    metrics.ttft_s = (group.first_token - group.request.arrival).value();
  }
  if (group.state == GroupState::finished && metrics.sequences > 0) {
    metrics.latency_s = latency;
    if (group.request.deadline) {
      metrics.deadline_met = group.finished <= *group.request.deadline;
    }
    metrics.normalized_latency_s = normalized / metrics.sequences;
    if (longest > 1) {
      metrics.tpot_s = (group.finished - group.first_token).value() / static_cast<double>(longest - 1);
    }
  }
  return metrics;
}

}  // namespace pagelab
