// run_isolated: work in a child process, so that a policy that crashes, aborts or never answers ends the
// child and not the check. The child tells what it does line by line. The caller must have no other threads.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace pagelab {

/// Hands a line, without its end, to the process that waits.
using Say = std::function<void(std::string_view line)>;

/// How a child ended.
struct IsolatedEnd {
  bool completed = false;  ///< the work came to its end
  bool silent = false;     ///< it was ended because nothing was heard of it for too long
  std::string how;         ///< "it was ended by SIGABRT", ...; empty if completed
  std::string errors;      ///< what it wrote to stderr, the last 4,096 characters
};

/// Runs work(say) in a child; `hear` is called here for each line. A child that says nothing for `silence_s`
/// seconds is killed. Exceptions of the work end the child. Throws std::runtime_error if no child can be
/// made.
IsolatedEnd run_isolated(const std::function<void(const Say&)>& work, const Say& hear, double silence_s);

}  // namespace pagelab
