// Retainer: asks the retention policy (core/retention.h). It adds up the attention weights that a device
// hands out, asks which slots to drop when a sequence has reached its budget, and checks the answer. It drops
// nothing: that is a decision (drop_tokens) that KvManager carries out.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/policy_registry.h"
#include "core/step.h"

namespace pagelab {

class Retainer {
 public:
  /// Borrows the choice, which must outlive it.
  explicit Retainer(const PolicySet::Choice<RetentionPolicy>& choice)
      : choice_(choice), weighs_(choice->wants_weights()) {}

  /// Asks for the budget of a group that arrives. Throws PolicyError.
  void begin(SequenceGroup& group, std::int64_t step) const;
  /// Adds `weights`, what the device handed out in a step, to the slots of the sequences that took part:
  /// those of `decisions`, in their order. Before anything of the step is committed.
  void add_weights(std::span<const Decision> decisions, std::span<const double> weights) const;
  /// Whether the group's sequence has no slot left for its next token, its prompt being computed.
  static bool is_full(const SequenceGroup& group);
  /// Asks which slots of a full group to drop; they are then in group.retained.dropping, in rising order.
  /// Throws PolicyError.
  void choose(SequenceGroup& group, std::int64_t step);

 private:
  void check(const SequenceGroup& group, Tokens least, std::int64_t step) const;
  [[noreturn]] void broken(std::int64_t step, const std::string& rule) const;

  const PolicySet::Choice<RetentionPolicy>& choice_;
  bool weighs_;
};

}  // namespace pagelab
