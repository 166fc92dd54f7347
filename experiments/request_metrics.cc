#include "experiments/request_metrics.h"

#include <algorithm>

namespace pagelab {

namespace {

constexpr std::uint64_t fnv_offset = 14695981039346656037u;
constexpr std::uint64_t fnv_prime = 1099511628211u;

/// The bytes of the ids, lowest first; each sequence ends with an id that no vocabulary has.
void hash(std::uint64_t& state, const std::vector<TokenId>& tokens) {
  const auto mix = [&state](TokenId token) {
    for (int shift = 0; shift < 32; shift += 8) {
      state = (state ^ ((static_cast<std::uint32_t>(token) >> shift) & 0xff)) * fnv_prime;
    }
  };
  for (const TokenId token : tokens) {
    mix(token);
  }
  mix(-1);
}

}  // namespace

RequestMetrics metrics_of(const SequenceGroup& group) {
  RequestMetrics metrics;
  metrics.output_hash = fnv_offset;
  std::size_t longest = 0;
  const double latency = (group.finished - group.request.arrival).value();
  double normalized = 0;
  const auto count = [&](const std::vector<TokenId>& output) {
    metrics.output_tokens += Tokens(static_cast<std::int64_t>(output.size()));
    ++metrics.sequences;
    longest = std::max(longest, output.size());
    hash(metrics.output_hash, output);
    normalized += output.empty() ? 0 : latency / static_cast<double>(output.size());
  };
  for (const FinishedSequence& sequence : group.done) {
    count(sequence.output);
  }
  for (const Sequence& sequence : group.live) {
    count(sequence.output);
  }
  if (group.first_token >= Seconds(0)) {
    metrics.ttft_s = (group.first_token - group.request.arrival).value();
  }
  if (group.state == GroupState::finished && metrics.sequences > 0) {
    metrics.latency_s = latency;
    metrics.normalized_latency_s = normalized / metrics.sequences;
    if (longest > 1) {
      metrics.tpot_s = (group.finished - group.first_token).value() / static_cast<double>(longest - 1);
    }
  }
  return metrics;
}

}  // namespace pagelab
