// The workload of an experiment: lengths, arrivals, prompts and sampling rules put together into requests,
// made one at a time when the engine takes them. What [workload] and [sampling] say is a WorkloadSpec.
#pragma once

#include <cstdint>
#include <memory>

#include "core/request.h"
#include "experiments/workload_kinds.h"

namespace pagelab {

struct WorkloadSpec {
  std::int64_t requests = 0;  ///< at most; 0: all of the trace
  KindChoice lengths;
  KindChoice arrivals;
  Sampling sampling;  ///< its seed is set for each request
  bool forced_output = true;
};

/// Builds the workload for a model with `vocabulary` token ids. Opens and checks the trace, if there is one.
/// Throws InputError. The same arguments give the same requests.
std::unique_ptr<Workload> make_workload(const WorkloadSpec& spec, std::uint64_t seed,
                                        std::int64_t vocabulary);

}  // namespace pagelab
