// A flat array with an entry per request, for what a scheduling policy remembers of each. It grows with the
// number of requests that have arrived, and by nothing per step.
#pragma once

#include <vector>

#include "core/ids.h"

namespace pagelab {

template <class State>
class PerRequest {
 public:
  /// The request's entry; a new one is State().
  State& operator[](RequestId request) {
    if (request.index() >= states_.size()) {
      states_.resize(request.index() + 1);
    }
    return states_[request.index()];
  }

 private:
  std::vector<State> states_;
};

}  // namespace pagelab
