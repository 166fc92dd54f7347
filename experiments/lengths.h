// LengthSource: how long prompts and outputs are, request by request, from a trace or drawn. It makes no
// tokens and no arrivals, but hands on what a trace says about them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "core/ids.h"
#include "experiments/workload_kinds.h"

namespace pagelab {

/// A request before it has tokens.
struct RequestShape {
  Tokens prompt{1};
  Tokens output{1};
  std::optional<Seconds> stamp;        ///< of the trace; any origin
  std::optional<std::int32_t> client;  ///< of the trace: who sent it
  std::int32_t priority = 0;           ///< of the trace
  std::optional<Seconds> slack;        ///< of the trace: from arrival to deadline
  std::int32_t sequences = 0;          ///< parallel samples or beams; 0: as [sampling] says
  std::vector<std::uint64_t> blocks;   ///< ids of the prompt's blocks; equal ids, equal tokens; may be empty
  Tokens block_tokens{1};              ///< that each of them covers
};

class LengthSource {
 public:
  virtual ~LengthSource() = default;
  /// The next request. Throws InputError.
  virtual RequestShape next() = 0;
  /// How many requests there are; none: without end.
  virtual std::optional<std::int64_t> total() const { return std::nullopt; }
  /// Whether every request has a stamp.
  virtual bool has_stamps() const { return false; }
  /// That of the request with this number, from 0; none past the last one, or without stamps.
  virtual std::optional<Seconds> stamp(std::int64_t request) const {
    (void)request;
    return std::nullopt;
  }
};

/// What every length source is made with.
struct LengthContext {
  std::uint64_t seed = 0;
  std::int64_t requests = 0;  ///< never more are asked for; 0: all that there are
};

/// The kinds of [workload.lengths].
const std::vector<Kind<LengthSource, LengthContext>>& length_kinds();

/// A length times `scale`, rounded up, at least 1.
Tokens scaled(Tokens length, double scale);

}  // namespace pagelab
