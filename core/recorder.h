// Recorder: what the engine reports while it runs. The run folder is one; tests have theirs. The engine owns
// none of it; what a call passes is valid for the call only.
#pragma once

#include <span>
#include <string>

#include "core/group.h"
#include "core/step.h"

namespace pagelab {

class Recorder {
 public:
  virtual ~Recorder() = default;
  /// A step was committed. `decisions`: all of it, those of the commit (fork, finish) last.
  virtual void on_step(const StepRecord& record, std::span<const Decision> decisions) = 0;
  /// A request ended: all its sequences are in group.done.
  virtual void on_finish(const SequenceGroup& group) = 0;
  /// A request that can never run was refused at `now`; `why` says what it needs and what there is.
  virtual void on_refuse(const Request& request, Seconds now, const std::string& why) = 0;
};

}  // namespace pagelab
