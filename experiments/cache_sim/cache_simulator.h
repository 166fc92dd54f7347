// CacheSimulator: a cache of blocks that holds nothing but the numbers of their contents, and the trace that
// is run through it. It drives an eviction policy with the events that the engine's prefix cache sends it:
// touch at a hit; at a miss recall if the content is remembered, evict if the cache is full, insert. Nothing
// is ever in use, so every cached content can be evicted.
//
// It borrows the trace and owns the contents' places. While a trace runs, everything is in flat arrays.
#pragma once

#include <cstdint>
#include <vector>

#include "core/eviction.h"
#include "experiments/cache_sim/block_trace.h"

namespace pagelab {

struct CacheSimResult {
  std::int64_t references = 0;
  std::int64_t misses = 0;  ///< of a trace of prompts: also what was cached behind a block that was not
  std::int64_t evictions = 0;
  double seconds = 0;  ///< wall clock that the references took

  double miss_ratio() const { return static_cast<double>(misses) / static_cast<double>(references); }
};

/// The share of all prompt tokens that hits served, of a trace of prompts.
double served_share(const BlockTrace& trace, const CacheSimResult& result);

class CacheSimulator {
 public:
  /// The most blocks that a cache may have.
  static constexpr std::int64_t largest_capacity = INT32_MAX;

  /// Borrows the trace.
  explicit CacheSimulator(const BlockTrace& trace);
  CacheSimulator(const CacheSimulator&) = delete;
  CacheSimulator& operator=(const CacheSimulator&) = delete;

  /// What the trace is going to reference, at each moment of a run. Valid as long as the simulator.
  const Future& future() const { return future_; }
  /// Runs the whole trace through an empty cache of `capacity` blocks, with a policy that was not used
  /// before. Throws PolicyError, without the policy's name, if it breaks its contract.
  CacheSimResult run(EvictionPolicy& policy, Blocks capacity);

 private:
  class Cache;

  const BlockTrace& trace_;
  std::vector<std::int64_t> next_;      ///< by reference: the next one of the same content
  std::vector<std::int64_t> next_use_;  ///< by entry
  Future future_;
};

}  // namespace pagelab
