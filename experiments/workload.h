// The workload of an experiment: lengths, arrivals, prompts and sampling rules put together into requests,
// made one at a time when the engine takes them. What [workload] and [sampling] say is a WorkloadSpec.
#pragma once

#include <cstdint>
#include <memory>

#include "core/request.h"
#include "experiments/request_marks.h"
#include "experiments/workload_kinds.h"

namespace pagelab {

struct WorkloadSpec {
  std::int64_t requests = 0;  ///< at most; 0: as many as the trace or the duration has
  Seconds duration;           ///< requests that would arrive at this time or later are left out; 0: none are
  Tokens prefix;              ///< of every prompt, the same for all requests, ahead of its own length
  KindChoice lengths;
  KindChoice arrivals;
  MarksSpec marks;
  Sampling sampling;  ///< its seed is set for each request
  double share = 1;   ///< of the requests that get sampling.n sequences; the others get one
  bool forced_output = true;
};

/// Whether `spec` says by itself how many requests there are: by a number, by the end of a trace, or by a
/// duration that bounds its arrivals.
bool has_end(const WorkloadSpec& spec);

/// Builds the workload for a model with `vocabulary` token ids. Reads and checks the trace, if there is one.
/// Its total() is exact unless a duration cuts off arrivals that wait for completions: then at most that many
/// come. Requires has_end().
/// Throws InputError. The same arguments give the same requests.
std::unique_ptr<Workload> make_workload(const WorkloadSpec& spec, std::uint64_t seed,
                                        std::int64_t vocabulary);

}  // namespace pagelab
