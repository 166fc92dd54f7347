#include "core/clock.h"

#include <algorithm>
#include <thread>

namespace pagelab {

RealClock::RealClock() : start_(std::chrono::steady_clock::now()) {}

Seconds RealClock::now() const {
  return Seconds(std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count());
}

void RealClock::wait_until(Seconds time) {
  const double left = std::min((time - now()).value(), 0.05);
  if (left > 0) {
    std::this_thread::sleep_for(std::chrono::duration<double>(left));
  }
}

}  // namespace pagelab
