// Runs a piece of a test on every SIMD target that is both compiled in and offered by this machine, the
// portable one included. For tests only.
#pragma once

#include <hwy/highway.h>
#include <hwy/targets.h>

#include <cstdint>

#include "gtest/gtest.h"

namespace pagelab::kernels {

/// Binds dynamic dispatch to one target for its own life. Not for use while kernels run.
class SimdTargetScope {
 public:
  explicit SimdTargetScope(std::int64_t target) { bind(target); }
  ~SimdTargetScope() { bind(0); }
  SimdTargetScope(const SimdTargetScope&) = delete;
  SimdTargetScope& operator=(const SimdTargetScope&) = delete;

 private:
  static void bind(std::int64_t target) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
};

/// Calls body() once per target, with dynamic dispatch bound to that target; failures name the target.
template <class Body>
void for_each_simd_target(Body&& body) {
  for (std::int64_t left = (hwy::SupportedTargets() & HWY_TARGETS) | HWY_STATIC_TARGET; left != 0;
       left &= left - 1) {
    const std::int64_t target = left & ~(left - 1);
    const ::testing::ScopedTrace trace(__FILE__, __LINE__, hwy::TargetName(target));
    const SimdTargetScope scope(target);
    body();
  }
}

}  // namespace pagelab::kernels
