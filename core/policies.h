// The axes: one small interface per question that a memory system answers. A policy ranks or chooses; the
// core checks and executes. Policies live in policies/ (or in a plugin), one file each, and are found by name
// through PolicyRegistry. One object of each axis belongs to one engine; it may keep state of its own.
//
// A policy that breaks its contract (an index out of range, a NaN, more tokens than there are, an exception)
// ends the run with a PolicyError that names it, the step and the rule.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>

#include "core/block_runs.h"
#include "core/device.h"
#include "core/ids.h"
#include "core/preemption_view.h"
#include "core/prefix_index.h"
#include "core/views.h"

namespace pagelab {

/// What a group got in a step.
struct Service {
  Tokens prefill;  ///< tokens computed in chunks: prompts, and recomputation
  Tokens decode;   ///< tokens computed one per sequence, right after they were drawn
  Seconds began;   ///< the step
  Seconds ended;
};

/// In what order do groups get the next step?
///
/// A group's life: arrived, key, then any number of key and served, then ended. Events take constant time or,
/// as all keys of a step together, O(n log n), and in the long run no memory per step.
class SchedulingPolicy {
 public:
  virtual ~SchedulingPolicy() = default;
  /// The group's place: smaller goes first, equal keys by order of arrival. Not NaN.
  virtual double key(const GroupView& group, Seconds now) = 0;
  /// Whether the key of a group changes while it waits or runs. If so, it is asked of every group whenever a
  /// step is planned; if not, once, when the group arrives.
  virtual bool keys_change() const { return false; }
  /// Whether a group that waits displaces running ones which it goes before, where blocks or places are
  /// lacking (core/README.md, Displacement).
  virtual bool displaces() const { return false; }
  /// Whether keys depend on GroupView::cached_tokens(), which is then kept up to date for every step.
  virtual bool reads_cache() const { return false; }

  /// A request was accepted; its key is asked next.
  virtual void arrived(const GroupView& group, Seconds now) {
    (void)group;
    (void)now;
  }
  /// The group took part in a step, whose new tokens it does not have yet. Told only if keys change.
  virtual void served(const GroupView& group, const Service& service) {
    (void)group;
    (void)service;
  }
  /// All sequences of the group have ended; it has no live ones any more.
  virtual void ended(const GroupView& group, Seconds now) {
    (void)group;
    (void)now;
  }
};

/// Where a group stands when a step is planned.
enum class Stage : std::uint8_t { running, swapped, waiting };

/// A group that could take part in the step being planned.
struct BatchCandidate {
  GroupView group;
  Stage stage;
  Tokens pending;  ///< tokens to compute until its next token can be drawn, as far as one step may
  bool decode;     ///< every live sequence lacks one token only and has produced one before
};

/// The step as planned so far.
struct StepSoFar {
  Tokens tokens;                       ///< granted
  std::int32_t groups = 0;             ///< with tokens granted
  std::int32_t prefills = 0;           ///< of them, not decoding
  std::int32_t running_groups = 0;     ///< that hold device blocks, in this step or not
  std::int32_t running_sequences = 0;  ///< of those groups, each counted with its full width
};

/// Which tokens go into this step?
class BatchingPolicy {
 public:
  virtual ~BatchingPolicy() = default;
  /// The order in which the stages are walked; within a stage the order is the scheduling policy's.
  virtual std::array<Stage, 3> stages() const { return {Stage::running, Stage::swapped, Stage::waiting}; }
  /// How many of the pending tokens to compute in this step. 0 leaves the group out: a running group is
  /// passed over and keeps its blocks; the first waiting or swapped group left out ends its stage. The first
  /// candidate of an otherwise empty step should get some, or nothing moves. At most `pending`.
  virtual Tokens grant(const BatchCandidate& candidate, const StepSoFar& step) = 0;
  /// Whether groups that ended stay unanswered until nothing runs any more, as where a batch is one call.
  virtual bool ends_together() const { return false; }
};

/// How does a sequence get slots?
class AllocationPolicy {
 public:
  virtual ~AllocationPolicy() = default;
  /// Comes first. Throws InputError if the policy cannot serve such a device.
  virtual void start(const DeviceCapacity& device) { (void)device; }
  /// Whether a block's pages are mapped to addresses of one sequence when it gets the block. Then no block is
  /// shared, and the device is told how many are mapped in a step (StepBatch::mapped).
  virtual bool maps_pages() const { return false; }
  /// Slots to set aside for a sequence when its `known` tokens are admitted; at least `known`.
  virtual Tokens reserve(const GroupView& group, Tokens known) = 0;
  /// An allocator of runs over a pool of `capacity` free blocks, if a sequence's slots must be adjacent. Then
  /// each sequence that the group will ever have gets a run of its own for all that reserve() says when the
  /// group is admitted, all or none; it shares no block, and no table grows. None: any block will do.
  virtual std::unique_ptr<BlockRuns> make_runs(Blocks capacity, Tokens block_size) const {
    (void)capacity;
    (void)block_size;
    return nullptr;
  }
  /// Free blocks that must be there before a running group may append, when it needs `exact`; at least
  /// `exact`, which is all unless a policy wants more. Waived when the group runs alone, so that one group
  /// can always use the whole pool.
  virtual Blocks append_headroom(const GroupView& group, Blocks exact) {
    (void)group;
    return exact;
  }
  /// Free blocks that admission and swapping in leave over; none unless a policy says so. Waived when nothing
  /// runs.
  virtual Blocks watermark(Blocks capacity) {
    (void)capacity;
    return Blocks(0);
  }
};

enum class PreemptionMode : std::uint8_t { recompute, swap };

/// A policy's choice of who gives way. `reason` is a string literal, for the decision log.
struct Victim {
  std::size_t index = 0;
  PreemptionMode mode = PreemptionMode::recompute;
  const char* reason = "";
  /// Leading blocks that a group of one sequence keeps while it waits to be recomputed, fewer than it holds;
  /// it goes on from there. Only whole blocks of computed tokens can be kept, and no part of a run. Kept
  /// blocks go, the last group's first, before a running group is preempted and before a waiting or swapped
  /// one is kept out.
  Blocks keep{};
};

/// Who gives way when a running group cannot append, and how does it come back?
class PreemptionPolicy {
 public:
  virtual ~PreemptionPolicy() = default;
  /// Comes first. The view outlives the policy.
  virtual void start(const PreemptionView& view) { (void)view; }
  /// `candidates`: the groups that may be preempted, in scheduling order: the one that needs blocks, which
  /// may give way itself, and those behind it. The first of all running groups is a candidate only when it is
  /// the last as well, so that it always progresses. Never empty. A swap that does not fit the host pool
  /// becomes a recompute. Where a group is displaced (SchedulingPolicy::displaces) it is the only
  /// candidate, and keeps nothing.
  virtual Victim choose(std::span<const GroupView> candidates) = 0;
};

/// Which blocks may serve more than one sequence?
class SharingPolicy {
 public:
  virtual ~SharingPolicy() = default;
  /// Whether the sequences of a group share the blocks of their common prefix, copied on write. If not, a
  /// fork gets copies of all blocks before the next step.
  virtual bool within_group() const = 0;
  /// Whether a prefix that requests declare as shared (Request::shared_prefix) stays in the pool once it was
  /// computed, for all later requests that begin with it: its whole blocks, for the rest of the run.
  virtual bool pins_prefixes() const { return false; }
  /// How contents of full blocks are found, if they are cached for all sequences that begin with them until
  /// the eviction policy lets them go. Requires within_group(). None: no block outlives its sequences.
  virtual std::unique_ptr<PrefixIndex> make_index(Blocks capacity, Tokens block_size) const {
    (void)capacity;
    (void)block_size;
    return nullptr;
  }
  /// Whether blocks with generated tokens are cached too.
  virtual bool caches_outputs() const { return true; }
};

}  // namespace pagelab
