// CaseRun: one case run in virtual time on the device that stores tokens, and judged: integrity and ledger
// after every step, progress, all blocks back at the end, each request's tokens as when it runs alone, the
// same decisions when it is run again. It runs in the calling process: what aborts or never answers is the
// affair of run_isolated().
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>

#include "core/policy_registry.h"
#include "experiments/experiment.h"

namespace pagelab {

/// What is wrong with a run.
enum class Fault : std::uint8_t {
  none,
  excluded,      ///< nothing: the policies exclude each other (InputError)
  contract,      ///< a PolicyError
  failure,       ///< an exception of another kind
  content,       ///< a sequence read what is not its own
  conservation,  ///< slots or blocks are lost
  progress,      ///< it goes on without end, or ends without all answers
  starvation,    ///< a request was overtaken too often by a policy that promises bounds
  tokens,        ///< a request got other tokens than alone
  determinism,   ///< the same run took other decisions
  crash,         ///< the process was ended
  silence        ///< a question was never answered
};
/// "it broke its contract", ...: as the subject of a report goes on.
std::string_view text_of(Fault fault);

/// What runs were made of, summed up.
struct CaseCounts {
  std::int64_t cases = 0;
  std::int64_t excluded = 0;  ///< combinations of policies that were refused and drawn again
  std::int64_t requests = 0;
  std::int64_t refused = 0;  ///< of them, those that can never fit
  std::int64_t steps = 0;
  std::map<std::string, std::int64_t> decisions;  ///< by kind
  std::map<std::string, std::int64_t> asked;      ///< by axis

  void add(const CaseCounts& other);
};

struct CaseVerdict {
  Fault fault = Fault::none;
  std::string text;  ///< what was found
  CaseCounts counts;
};

/// Judges an experiment on a device of kind "check". `overtakers`: how many requests that come later may be
/// answered before request 1 is; 0: any number, and each request is run alone, too.
CaseVerdict run_case(const Experiment& experiment, const PolicyRegistry& registry,
                     std::int64_t overtakers = 0);

}  // namespace pagelab
