// Beam search (Sutskever et al., 2014, section 3.2; the ending rules are those of Hugging Face transformers
// with early_stopping = False, so that results can be compared): which candidates go on, which hypotheses are
// complete. It owns scratch only, and touches neither blocks nor tables: the engine forks and frees as `next`
// says.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/device.h"
#include "core/group.h"

namespace pagelab {

class BeamSearch {
 public:
  /// A beam of the next step: sequence `parent` of group.live, grown by a token.
  struct Child {
    std::size_t parent;
    TokenId token;
    float logprob;
    double score;  ///< sum of logprobs, this token's included
  };

  /// Takes the 2 * width best candidates of every live sequence, row after row. Complete hypotheses go to
  /// group.done, best first and at most `width`, scored by sum / length^penalty over generated tokens.
  /// Returns the beams that go on, best first; none when the group is done. The span is valid until the next
  /// call.
  std::span<const Child> advance(SequenceGroup& group, std::span<const TokenCandidate> candidates);

 private:
  void complete(SequenceGroup& group, const Child& child, double length_factor);

  std::vector<Child> ranked_;
  std::vector<Child> next_;
};

}  // namespace pagelab
