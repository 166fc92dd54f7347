// Request: what a client sends. Immutable once issued; owned by the engine until it finishes.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/ids.h"

namespace pagelab {

/// How the tokens of a request are chosen.
struct Sampling {
  enum class Method : std::uint8_t {
    greedy,  ///< the most likely token
    random,  ///< temperature, top-k, top-p; `n` parallel samples
    beam     ///< beam search of width `n` (SOSP'23, section 4.4)
  };
  Method method = Method::greedy;
  std::int32_t n = 1;           ///< parallel samples, or the beam width
  float temperature = 1.0f;     ///< > 0
  std::int32_t top_k = 0;       ///< 0: the whole vocabulary
  float top_p = 1.0f;           ///< in (0, 1]
  float length_penalty = 1.0f;  ///< beam: score = sum of log-probabilities / length^penalty
  std::optional<TokenId> eos;   ///< ends a sequence when produced; none: only the length ends it
  std::uint64_t seed = 0;       ///< of this request's random stream
};

struct Request {
  RequestId id;
  std::int32_t client = 0;
  std::int32_t priority = 0;    ///< larger is more urgent
  Seconds arrival;              ///< since the start of the run
  std::vector<TokenId> prompt;  ///< at least one token
  Tokens shared_prefix;         ///< its first tokens that the provider declares to be common to many requests
  Tokens max_output;            ///< a sequence ends after this many new tokens, at least 1
  bool forced_output = false;   ///< the length is exact: eos is ignored (traces, the paper's runs)
  Sampling sampling;
};

/// Where requests come from. Arrival times never decrease. Owned by whoever builds the run.
class Workload {
 public:
  virtual ~Workload() = default;
  /// The arrival time of the next request; none when there is none for now (a closed loop waits for a
  /// completion) or ever.
  virtual std::optional<Seconds> next_arrival() const = 0;
  /// The next request. Requires next_arrival().
  virtual Request take() = 0;
  /// Tells that a request ended (finished or refused) at `now`.
  virtual void on_end(RequestId request, Seconds now) = 0;
  /// Requests that the workload will issue in all.
  virtual std::int64_t total() const = 0;
};

}  // namespace pagelab
