// Clock: where time comes from. Real for devices that take time, virtual where time is modelled. The only
// place of the core that may look at a wall clock is RealClock.
#pragma once

#include <chrono>

#include "core/ids.h"

namespace pagelab {

class Clock {
 public:
  virtual ~Clock() = default;
  /// Since the start of the run.
  virtual Seconds now() const = 0;
  /// Called when nothing can run before `time`. May return earlier.
  virtual void wait_until(Seconds time) = 0;
  /// Called when the device has run a step that took `duration`.
  virtual void advance(Seconds duration) = 0;
};

/// Time as it passes; starts at construction.
class RealClock final : public Clock {
 public:
  RealClock();
  Seconds now() const override;
  /// Sleeps, at most a twentieth of a second at a time so that the caller stays responsive.
  void wait_until(Seconds time) override;
  void advance(Seconds) override {}  // it has passed already

 private:
  std::chrono::steady_clock::time_point start_;
};

/// Time that moves only by what steps and idle waits take; a run repeats exactly.
class VirtualClock final : public Clock {
 public:
  Seconds now() const override { return now_; }
  void wait_until(Seconds time) override { now_ = time > now_ ? time : now_; }
  void advance(Seconds duration) override { now_ += duration; }

 private:
  Seconds now_;
};

}  // namespace pagelab
