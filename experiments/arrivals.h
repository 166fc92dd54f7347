// ArrivalSource: when requests arrive. It is asked once per request, in order; its times never decrease.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "core/ids.h"
#include "experiments/lengths.h"
#include "experiments/workload_kinds.h"

namespace pagelab {

struct Arrival {
  Seconds time;
  std::int32_t client = 0;
};

class ArrivalSource {
 public:
  virtual ~ArrivalSource() = default;
  /// When the request of this shape arrives; none: not before some other request ends, ask again then.
  virtual std::optional<Arrival> next(const RequestShape& shape) = 0;
  /// Whether its times go on without end and depend on no completion, so that a duration bounds how many
  /// there are.
  virtual bool goes_on() const { return true; }
  /// Whether its times are the stamps of the shapes.
  virtual bool uses_stamps() const { return false; }
  /// A request of `client` ended.
  virtual void on_end(std::int32_t client, Seconds now) {
    (void)client;
    (void)now;
  }
};

/// What every arrival source is made with.
struct ArrivalContext {
  std::uint64_t seed = 0;
  bool stamped = false;  ///< whether the lengths come with time stamps
};

/// How many requests of `arrivals`, freshly made and going on, come before `end`; no more than `limit` are
/// looked at. `lengths` gives the stamps, if they are used.
std::int64_t count_arrivals(ArrivalSource& arrivals, const LengthSource* lengths, Seconds end,
                            std::int64_t limit);

/// The kinds of [workload.arrivals].
const std::vector<Kind<ArrivalSource, ArrivalContext>>& arrival_kinds();

}  // namespace pagelab
