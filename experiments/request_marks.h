// RequestMarks: who sends a request, how urgent it is and when it should have ended, drawn by shares as
// [workload.clients], [workload.priorities] and [workload.deadlines] say, or taken from the trace. Each of
// the three has a random stream of its own, so that one does not shift another or the requests themselves.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/config.h"
#include "core/random.h"
#include "core/request.h"
#include "experiments/lengths.h"

namespace pagelab {

std::vector<ParameterSpec> client_parameters();
std::vector<ParameterSpec> priority_parameters();
std::vector<ParameterSpec> deadline_parameters();

/// What the three sections say. Lists that are empty say nothing.
struct MarksSpec {
  RealList client_shares;
  IntegerList priorities;
  RealList priority_shares;  ///< one per priority, or none: all alike
  RealList slacks_s;         ///< from arrival to deadline
  RealList slack_shares;     ///< one per slack, or none: all alike
  double slack_prompt_token_s = 0;
  double slack_output_token_s = 0;
};

/// Reads a section each. Throws InputError if its lists do not fit together, or if `from_elsewhere` (what
/// says the same already, such as "the trace's client_column"; empty: nothing does) contradicts it.
void resolve_clients(MarksSpec& spec, const ConfigTable& table, const Parameters& p,
                     const std::string& from_elsewhere);
void resolve_priorities(MarksSpec& spec, const ConfigTable& table, const Parameters& p,
                        const std::string& from_elsewhere);
void resolve_deadlines(MarksSpec& spec, const ConfigTable& table, const Parameters& p,
                       const std::string& from_elsewhere);

class RequestMarks {
 public:
  RequestMarks(MarksSpec spec, std::uint64_t seed);

  /// Sets client, priority and deadline of a request that has its arrival and lengths. A client stays as the
  /// arrivals set it unless the shape or the spec says otherwise.
  void mark(Request& request, const RequestShape& shape);

 private:
  MarksSpec spec_;
  RandomStream clients_, priorities_, deadlines_;
};

}  // namespace pagelab
