// RequestMetrics: what is said of one request when it has ended: its counts and latencies; and a hash of its
// tokens. Computed from the group alone; used for requests.csv and for the summary, so that both say the
// same.
#pragma once

#include <cstdint>
#include <optional>

#include "core/group.h"

namespace pagelab {

struct RequestMetrics {
  Tokens prompt_tokens;
  Tokens hits;           ///< of the prompt, in the prefix cache when it was first admitted
  Tokens output_tokens;  ///< over all sequences
  std::int32_t sequences = 0;
  std::int32_t client = 0;

  // None where the request has not come that far.
  std::optional<double> latency_s;             ///< arrival to the end of its last sequence
  std::optional<double> normalized_latency_s;  ///< mean over sequences of latency / output length
  std::optional<double> ttft_s;                ///< arrival to its first token
  std::optional<double>
      tpot_s;  ///< first token to the end, per token after the first of its longest sequence
  std::optional<bool> deadline_met;  ///< of a finished request that has a deadline
};

/// Of a group in any state; sequences that are not finished count with the tokens they have.
RequestMetrics metrics_of(const SequenceGroup& group);

/// FNV-1a, 64 bits, over the output ids of all sequences in order, an id at a time.
std::uint64_t output_hash(const SequenceGroup& group);

}  // namespace pagelab
