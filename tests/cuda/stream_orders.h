// The orders in which tests of the CUDA device run its queued work. On the emulated runtime: at once, as late
// as possible, and in random orders that the streams allow, so that a missing wait gives wrong results rather
// than luck.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#ifdef PAGELAB_EMULATED_RUNTIME
#include "kernels/emu/runtime.h"
#endif

namespace pagelab::testing {

/// Runs `body` under each order of queued work; once on a GPU, which has its own.
inline void for_each_stream_order(const std::function<void()>& body) {
#ifdef PAGELAB_EMULATED_RUNTIME
  using emu::StreamOrder;
  const std::vector<std::pair<StreamOrder, std::uint64_t>> orders = {
      {StreamOrder::eager, 0}, {StreamOrder::lazy, 0}, {StreamOrder::random, 1}, {StreamOrder::random, 2}};
  for (const auto& [order, seed] : orders) {
    SCOPED_TRACE("stream order " + std::to_string(static_cast<int>(order)) + ", seed " +
                 std::to_string(seed));
    emu::set_stream_order(order, seed);
    body();
  }
  emu::set_stream_order(StreamOrder::eager);
#else
  body();
#endif
}

}  // namespace pagelab::testing
