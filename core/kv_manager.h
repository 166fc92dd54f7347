// KvManager: which blocks belong to which sequence. It owns the two block pools and writes every block table;
// apply() is the only function of pagelab through which a block changes its owner. The data in the blocks is
// the device's: what must be copied or swapped for a change of ownership to be true is appended to the
// StepBatch. It decides nothing: whether a change fits is asked first (blocks_to_admit, blocks_to_append,
// ...).
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/block_pool.h"
#include "core/block_runs.h"
#include "core/device.h"
#include "core/group.h"
#include "core/pinned_prefixes.h"
#include "core/policies.h"
#include "core/prefix_cache.h"
#include "core/retention.h"
#include "core/step.h"

namespace pagelab {

class KvManager {
 public:
  /// Borrows the policies, which must outlive it. Throws InputError if they exclude each other, or the device
  /// excludes one. It and all that asks a policy throw BrokenRule if the policy breaks its contract.
  KvManager(const DeviceCapacity& capacity, AllocationPolicy& allocation, const SharingPolicy& sharing,
            EvictionPolicy& eviction, const RetentionPolicy& retention);

  const BlockPool& device() const { return device_; }
  const BlockPool& host() const { return host_; }
  Tokens block_size() const { return block_size_; }

  /// Device blocks that can be had: free ones, and cached ones that no sequence uses.
  Blocks obtainable() const { return device_.free() + idle(); }
  /// Allocated device blocks without the idle cached ones.
  Blocks in_use() const { return device_.allocated() - idle(); }

  /// Of those that can be had, how many admitting a waiting group takes: for its known tokens, or what the
  /// allocation policy reserves, less what it kept; and the idle cached blocks that it would begin with.
  /// `set_aside`, if given, becomes what the policy reserves for all of its sequences.
  Blocks blocks_to_admit(const SequenceGroup& group, Blocks* set_aside = nullptr) const;
  /// Device blocks that computing `tokens` more tokens of a running group takes, copies on write included.
  Blocks blocks_to_append(const SequenceGroup& group, Tokens tokens) const {
    return group.live.size() == 1 ? lacking(group.live.front(), tokens)
                                  : blocks_to_append_to_all(group, tokens);
  }
  /// Blocks, each counted once, that a group holds in the tier it is in.
  Blocks blocks_held(const SequenceGroup& group) const;
  /// Of those of a running group, the ones that are free when it gives them up.
  Blocks blocks_freed(const SequenceGroup& group) const;
  /// Tokens of a running group whose KV is in those blocks, each counted once.
  Tokens tokens_lost(const SequenceGroup& group) const;
  /// Entries of all block tables of running groups.
  Blocks table_entries() const { return device_.references() - pinned() - cached() - kept_; }
  /// Entries of the tables that waiting groups kept.
  Blocks kept() const { return kept_; }

  /// Blocks that stay for the rest of the run, whoever uses them.
  Blocks pinned() const { return Blocks(static_cast<std::int64_t>(pinned_.blocks().size())); }

  /// Whether contents of full blocks are cached for later sequences (SharingPolicy::make_index).
  bool caches() const { return cache_ != nullptr; }
  /// Blocks whose content is cached, in use or not.
  Blocks cached() const { return cache_ ? cache_->cached() : Blocks(0); }
  /// Those of them that no sequence uses.
  Blocks idle() const { return cache_ ? cache_->idle() : Blocks(0); }
  std::int64_t evictions() const { return cache_ ? cache_->evictions() : 0; }
  std::int64_t evicted_then_needed() const { return cache_ ? cache_->evicted_then_needed() : 0; }
  /// Lets a waiting group begin with what the prefix cache holds of its first sequence now. To be done, where
  /// blocks are cached, in every plan that may admit it; what is found stays until the next block is evicted.
  void look_up(SequenceGroup& group) const;
  /// What tells apart the first block of a group's first sequence that is not cached, if it is full already:
  /// two groups of equal keys are about to compute the same.
  std::optional<std::uint64_t> next_content(const SequenceGroup& group) const;
  /// Whether a running group has full blocks that are not cached yet.
  bool has_unlisted(const SequenceGroup& group) const;

  /// Whether each sequence has a run of adjacent blocks of its own (AllocationPolicy::make_runs).
  bool in_runs() const { return runs_ != nullptr; }
  /// Adds the runs that admitting a waiting group takes to `runs`, a list of lengths.
  void append_runs(const SequenceGroup& group, std::vector<Blocks>& runs) const;
  /// Whether these runs can be taken now, one after the other.
  bool runs_fit(std::span<const Blocks> runs) const { return fit(*runs_, runs); }

  /// Whether the retention policy may drop tokens. Then a group has one sequence.
  bool drops_tokens() const { return drops_; }
  /// Tokens of a group that one step may compute at most: what is left of the prompt, or as many as there are
  /// slots before something must be dropped; at least 1. Requires drops_tokens().
  Tokens most_at_once(const SequenceGroup& group) const;

  /// Why a request could not finish even alone; empty if it can.
  std::string why_never(const SequenceGroup& group) const;
  /// A request is accepted: its prompt begins with a pinned prefix, if there is one for it.
  void accept(SequenceGroup& group);
  /// Lets a group that never ran begin with a pinned prefix, if its prompt does.
  void begin_with_prefix(SequenceGroup& group) const;
  /// Whether the prefix that the running group's request declares is computed, not yet pinned, and can be
  /// without keeping an accepted request from finishing.
  bool may_pin(const SequenceGroup& group) const;

  /// Carries out one decision: blocks, tables, fills and the group's state change, and the copies that this
  /// needs are appended to `batch`. Copies on write done on the way are decisions too and appended to `log`,
  /// which must not own `decision`. The decision must fit. For admit, proceed and swap_in, `tokens` are
  /// shared out over the sequences in their order, to each all but its last pending token unless the decision
  /// completes what is pending (so a group's next tokens are all drawn in one step), and the work is appended
  /// to the batch.
  void apply(const Decision& decision, StepBatch& batch, std::vector<Decision>& log) {
    if (decision.kind != DecisionKind::proceed) {
      change_owners(decision, batch);
    }
    if (computes(decision)) {
      compute(decision, batch, log);
    }
    if (!evicted_.empty()) {
      log.insert(log.end(), evicted_.begin(), evicted_.end());
      evicted_.clear();
    }
  }

  /// Where every slot of the device pool is. `running` are all groups that hold device blocks, but for those
  /// that kept some: these are full.
  SlotLedger ledger(std::span<SequenceGroup* const> running);

  /// Aborts unless pools, tables and counts agree: every reference comes from exactly one table entry.
  /// `holding` are all groups that hold device blocks.
  void check_integrity(std::span<SequenceGroup* const> holding,
                       std::span<SequenceGroup* const> swapped) const;

 private:
  /// Device blocks that a group can come to hold at most, where `reserved` are set aside for each sequence:
  /// by default what the allocation policy says when the request is accepted.
  Blocks blocks_at_most(const SequenceGroup& group, Blocks reserved) const;
  Blocks blocks_at_most(const SequenceGroup& group) const;
  /// The whole blocks of the prefix that a request declares.
  Blocks declared_prefix(const SequenceGroup& group) const;
  /// Tokens whose KV a sequence holds.
  Tokens held(const Sequence& sequence) const {
    return drops_ ? sequence.computed - sequence.dropped : sequence.computed;
  }
  /// Blocks that a sequence's table lacks to hold `tokens` more.
  Blocks lacking(const Sequence& sequence, Tokens tokens) const {
    const Tokens slots(static_cast<std::int64_t>(sequence.blocks.size()) * block_size_.value());
    const Tokens needed = held(sequence) + tokens;
    return needed <= slots ? Blocks(0) : blocks_for(needed - slots, block_size_);
  }
  /// Blocks that the allocation policy sets aside for a sequence. Throws BrokenRule if they are too few.
  Blocks reserved(const SequenceGroup& group, Tokens known) const;
  /// Tokens to have slots for when a group is admitted: those known, as many of them as it ever holds.
  Tokens slots_to_admit(const SequenceGroup& group, const Sequence& sequence) const {
    return drops_ ? std::min(sequence.known(), slots_at_most(group)) : sequence.known();
  }
  Blocks blocks_to_append_to_all(const SequenceGroup& group, Tokens tokens) const;
  /// What a sequence gets of the `left` tokens of its group's share of a step.
  static Tokens share_of(const Sequence& sequence, bool all_pending, Tokens left) {
    return std::min(left, all_pending ? sequence.pending() : sequence.pending() - Tokens(1));
  }
  /// What a decision means for the blocks that there are, before any new tokens are computed.
  void change_owners(const Decision& decision, StepBatch& batch);
  void admit(SequenceGroup& group, Blocks planned);
  void admit_in_runs(SequenceGroup& group);
  /// A policy's allocator of runs. Throws BrokenRule, as does every call to it.
  std::unique_ptr<BlockRuns> make_runs() const;
  /// Throws InputError if the policy says that the device cannot serve it.
  void start_allocation(const DeviceCapacity& capacity);
  void pin_prefix(const SequenceGroup& group);
  static bool fit(BlockRuns& runs, std::span<const Blocks> wanted);
  std::vector<BlockId> take_run(Blocks blocks);
  /// Lets go of a table of device blocks, which is then empty.
  void release(std::vector<BlockId>& table);
  /// Lets go of all but the leading `keep` blocks of a waiting group's one sequence; what it has computed
  /// ends there.
  void trim(SequenceGroup& group, Blocks keep);
  void release_spare(SequenceGroup& group);
  /// A block for the group: a free one, or else that of an evicted content.
  BlockId new_block(SequenceGroup& group) {
    if (cache_ && device_.free() == Blocks(0)) {
      evict_for(group);
    }
    return device_.allocate();
  }
  void evict_for(SequenceGroup& group);
  void share(SequenceGroup& group);
  /// Makes the full blocks of a running group's sequences known to the prefix cache. Where it has their
  /// content already, the sequence goes on with the cached block and gives its own back.
  void list_blocks(SequenceGroup& group);
  /// Whether the sequence's next block after the listed ones is full and may be cached. (Behind what a
  /// sibling is to compute for it, a sequence that is restored counts as computed what is not there yet.)
  bool next_is_full(const Sequence& sequence) const;
  /// The tokens of one block of a sequence.
  std::span<const TokenId> block_tokens(const SequenceGroup& group, const Sequence& sequence,
                                        std::int64_t block) const;
  /// Of a running group's blocks, those that no other group uses.
  Blocks blocks_made_idle(const SequenceGroup& group) const;
  static void forget_listed(Sequence& sequence) {
    sequence.listed = 0;
    sequence.tip = PrefixIndex::root;
  }
  /// Idle cached blocks among those that the group would begin with.
  Blocks idle_hits(const SequenceGroup& group) const;
  void fork_into_run(SequenceGroup& group, std::size_t parent, StepBatch& batch);
  void finish_in_run(SequenceGroup& group, Sequence& sequence);
  /// Shares the decision's tokens out over the group's sequences, with slots to write them into.
  void compute(const Decision& decision, StepBatch& batch, std::vector<Decision>& log);
  void compute_all(SequenceGroup& group, const Decision& decision, StepBatch& batch,
                   std::vector<Decision>& log);
  /// Appends a sequence's next tokens, at least one, to the batch, with slots to write them into.
  void write(SequenceGroup& group, Sequence& sequence, Tokens tokens, StepBatch& batch);
  /// Makes the blocks that a sequence's next tokens go into its own.
  void unshare(SequenceGroup& group, std::size_t index, StepBatch& batch, std::vector<Decision>& log);
  void copy_on_write(SequenceGroup& group, std::size_t index, std::size_t table_entry, StepBatch& batch,
                     std::vector<Decision>& log);
  /// The first table entry that may not be shared when the sequence writes on: that of its next token, or
  /// all.
  std::size_t first_written(const Sequence& sequence) const;
  /// Makes the table long enough for the sequence's next tokens, and their slots valid.
  void extend(SequenceGroup& group, Sequence& sequence, Tokens tokens);
  void drop(SequenceGroup& group, Blocks keep);

  // Where the retention policy drops tokens:
  /// Throws InputError if the device or another policy cannot serve it.
  void require_retention(const DeviceCapacity& capacity, bool maps) const;
  /// Slots that a group comes to hold at most from now on, what it holds included.
  Tokens slots_at_most(const SequenceGroup& group) const;
  std::int32_t device_slot(const Sequence& sequence, std::int32_t slot) const;
  void write_retained(SequenceGroup& group, Sequence& sequence, Tokens tokens, StepBatch& batch);
  void fill_slot(SequenceGroup& group, std::int32_t slot, std::int32_t position);
  void drop_tokens(SequenceGroup& group, StepBatch& batch);
  /// Moves tokens so that the slots held are the first ones.
  void compact(SequenceGroup& group, StepBatch& batch) const;
  /// Lets go of the blocks that a group will not need any more, and counts the slots filled in the others.
  void trim_retained(SequenceGroup& group);
  Tokens filled_slots(const SequenceGroup& group, std::size_t entry) const;
  static void forget_retained(SequenceGroup& group);
  void check_retained(const SequenceGroup& group, const BlockPool& pool) const;

  void remember_sharing(SequenceGroup& group) const;
  void move(SequenceGroup& group, BlockPool& from, BlockPool& to, std::vector<BlockCopy>& copies);
  void fork(SequenceGroup& group, std::size_t parent, StepBatch& batch);
  void finish(SequenceGroup& group, std::size_t index);
  /// Marks a block; whether it was not marked since the last new_marks().
  bool mark(BlockId block) const;
  void new_marks() const { ++mark_; }

  Tokens block_size_;
  bool drops_;   ///< the retention policy may drop tokens
  bool weighs_;  ///< and wants to know which slots receive attention
  AllocationPolicy& allocation_;
  bool within_group_;   ///< what the sharing policy said at the start
  bool pins_prefixes_;  ///< so, too
  bool caches_outputs_;
  BlockPool device_;
  BlockPool host_;
  std::unique_ptr<BlockRuns> runs_;   ///< null: any blocks do
  std::unique_ptr<BlockRuns> empty_;  ///< the same with nothing taken: what could fit at all
  PinnedPrefixes pinned_;
  Blocks largest_need_;  ///< of any request accepted so far
  Blocks kept_;          ///< table entries of waiting groups
  // Scratch of walks that must see each block once: marks_[block] == mark_ means seen. moved_to_ is its
  // target.
  mutable std::vector<std::uint32_t> marks_;
  mutable std::uint32_t mark_ = 0;
  std::vector<BlockId> moved_to_;
  std::vector<Blocks> set_aside_;           ///< for each sequence of the group being admitted
  mutable std::vector<std::int32_t> uses_;  ///< scratch: of each block by one group
  mutable std::vector<TokenId> tokens_;     ///< scratch of look-ups
  std::vector<BlockId> left_;               ///< scratch: a table that is given up
  std::vector<Decision> evicted_;           ///< by the decision being applied, for the log
  std::unique_ptr<PrefixCache> cache_;      ///< null: no block outlives its sequences
};

}  // namespace pagelab
