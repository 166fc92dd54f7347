// The errors a run can end with. Input errors are exceptions that say where and what is valid; a broken
// invariant of the engine itself aborts with a dump (PAGELAB_INVARIANT), because going on could only hide it.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace pagelab {

/// Wrong input: configuration, trace, checkpoint, plugin. The text names file, line and key and what is
/// valid.
class InputError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// A policy broke the contract of its axis. The text names the policy, the step and the rule.
class PolicyError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The same from a place that knows neither the policy's name nor the step; Engine::step() adds them. `axis`
/// is a string literal.
class BrokenRule : public PolicyError {
 public:
  BrokenRule(std::string_view axis, const std::string& rule) : PolicyError(rule), axis_(axis) {}
  std::string_view axis() const { return axis_; }

 private:
  std::string_view axis_;
};

/// Throws the exception that is being handled, which a policy of `axis` threw, as a BrokenRule.
[[noreturn]] void rethrow_broken(std::string_view axis);

/// Asks a policy of `axis`. Whatever it throws becomes a BrokenRule.
template <class Question>
auto ask_policy(std::string_view axis, Question&& question) {
  try {
    return std::forward<Question>(question)();
  } catch (...) {
    rethrow_broken(axis);
  }
}

/// Prints the condition, the place and `detail` to stderr and aborts.
[[noreturn]] void invariant_failed(const char* condition, const char* file, int line,
                                   const std::string& detail);

}  // namespace pagelab

/// Checks what the engine's own code guarantees; `detail` is evaluated only when it fails.
#define PAGELAB_INVARIANT(condition, detail) \
  (static_cast<bool>(condition) ? void(0)    \
                                : ::pagelab::invariant_failed(#condition, __FILE__, __LINE__, detail))
