// Engine: the walk of a request. Each step: take arrivals, plan, apply the plan, let the device execute it,
// commit what it returned, record it. The engine owns the groups, the queues and the KV manager; device,
// clock, workload and recorder are borrowed. It knows no policy, no model and no kernel by name, and no wall
// clock.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/beam_search.h"
#include "core/clock.h"
#include "core/device.h"
#include "core/kv_manager.h"
#include "core/policy_registry.h"
#include "core/recorder.h"
#include "core/request.h"
#include "core/scheduler.h"
#include "core/step.h"

namespace pagelab {

/// How far a run is; for progress lines.
struct Progress {
  Seconds now;
  std::int64_t steps = 0;
  std::int64_t finished = 0;
  std::int64_t refused = 0;
  std::int64_t preemptions = 0;
  Tokens tokens;  ///< computed so far, prompts included
  Tokens tokens_produced;
  double occupancy = 0;  ///< share of the device blocks that are allocated
};

class Engine {
 public:
  /// All but `policies` are borrowed and must outlive the engine.
  Engine(Device& device, Clock& clock, Workload& workload, PolicySet policies, Recorder& recorder);

  /// Runs one step, or waits for the next arrival if nothing is there to run. False when every request has
  /// ended. Throws PolicyError if a policy breaks its contract, and what the device throws.
  bool step();

  Progress progress() const;
  const Queues& queues() const { return queues_; }
  const KvManager& kv() const { return kv_; }

  /// Aborts unless every class's own account of the state agrees; done after each step in debug builds.
  void check_integrity() const;

 private:
  void arrive();
  /// Why a request can never be served; empty if it can.
  std::string why_refused(const SequenceGroup& group) const;
  void apply();
  void change_queue(SequenceGroup& group, DecisionKind kind);
  void commit();
  /// Lists the blocks that the step filled with the prefix cache.
  void cache_computed();
  void commit_group(SequenceGroup& group, std::span<const TokenCandidate> candidates);
  void commit_samples(SequenceGroup& group, std::span<const TokenCandidate> candidates);
  void commit_beams(SequenceGroup& group, std::span<const TokenCandidate> candidates);
  /// Applies a decision of the commit and logs it.
  void carry_out(DecisionKind kind, SequenceGroup& group, std::size_t sequence, const char* reason);
  void extend(Sequence& sequence, const TokenCandidate& token);
  void end_sequence(SequenceGroup& group, std::size_t index, const char* reason);
  void end_group(SequenceGroup& group);
  void answer(SequenceGroup& group);
  void pin_prefix(SequenceGroup& group);
  void forget_ended();

  Device& device_;
  Clock& clock_;
  Workload& workload_;
  PolicySet policies_;
  Recorder& recorder_;
  KvManager kv_;
  Scheduler scheduler_;
  BeamSearch beams_;
  DeviceCapacity capacity_;

  Queues queues_;
  std::vector<std::unique_ptr<SequenceGroup>> groups_;  ///< the live ones, in no order
  Progress progress_;
  std::int64_t evictions_ = 0;  ///< up to the last step
  std::int64_t evicted_then_needed_ = 0;

  // The step at hand; kept for their memory.
  StepPlan plan_;  ///< with what followed from it, it is the step's decision log
  StepBatch batch_;
  StepResult result_;
  StepRecord record_;
  struct Sampled {
    SequenceGroup* group;
    std::int32_t first;  ///< of its candidates
  };
  std::vector<Sampled> sampled_;
  std::vector<SequenceGroup*> ended_;
  std::vector<Sequence> beam_scratch_;
  std::vector<std::size_t> beam_places_;
};

}  // namespace pagelab
