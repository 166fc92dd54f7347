// KvManager: which blocks belong to which sequence. It owns the two block pools and writes every block table;
// apply() is the only function of pagelab through which a block changes its owner. The data in the blocks is
// the device's: what must be copied or swapped for a change of ownership to be true is appended to the
// StepBatch. It decides nothing: whether a change fits is asked first (blocks_to_admit, blocks_to_append,
// ...).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/block_pool.h"
#include "core/block_runs.h"
#include "core/device.h"
#include "core/group.h"
#include "core/pinned_prefixes.h"
#include "core/policies.h"
#include "core/step.h"

namespace pagelab {

class KvManager {
 public:
  /// Borrows the policies, which must outlive it. Throws InputError if the two exclude each other.
  KvManager(const DeviceCapacity& capacity, AllocationPolicy& allocation, const SharingPolicy& sharing);

  const BlockPool& device() const { return device_; }
  const BlockPool& host() const { return host_; }
  Tokens block_size() const { return block_size_; }

  /// Device blocks that admitting a waiting group takes: its known tokens, or what the allocation policy
  /// reserves, less what it kept.
  Blocks blocks_to_admit(const SequenceGroup& group) const;
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
  Blocks table_entries() const { return device_.references() - pinned() - kept_; }
  /// Entries of the tables that waiting groups kept.
  Blocks kept() const { return kept_; }

  /// Blocks that stay for the rest of the run, whoever uses them.
  Blocks pinned() const { return Blocks(static_cast<std::int64_t>(pinned_.blocks().size())); }

  /// Whether each sequence has a run of adjacent blocks of its own (AllocationPolicy::make_runs).
  bool in_runs() const { return runs_ != nullptr; }
  /// Adds the runs that admitting a waiting group takes to `runs`, a list of lengths.
  void append_runs(const SequenceGroup& group, std::vector<Blocks>& runs) const;
  /// Whether these runs can be taken now, one after the other.
  bool runs_fit(std::span<const Blocks> runs) const { return fit(*runs_, runs); }

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
    if (decision.tokens > Tokens(0)) {
      compute(decision, batch, log);
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
  /// Device blocks that a group can come to hold at most.
  Blocks blocks_at_most(const SequenceGroup& group) const;
  /// The whole blocks of the prefix that a request declares.
  Blocks declared_prefix(const SequenceGroup& group) const;
  /// Blocks that a sequence's table lacks to hold `tokens` more.
  Blocks lacking(const Sequence& sequence, Tokens tokens) const {
    const Tokens slots(static_cast<std::int64_t>(sequence.blocks.size()) * block_size_.value());
    const Tokens needed = sequence.computed + tokens;
    return needed <= slots ? Blocks(0) : blocks_for(needed - slots, block_size_);
  }
  /// Blocks that the allocation policy sets aside for a sequence. Throws PolicyError if they are too few.
  Blocks reserved(const SequenceGroup& group, Tokens known) const;
  Blocks blocks_to_append_to_all(const SequenceGroup& group, Tokens tokens) const;
  /// What a decision means for the blocks that there are, before any new tokens are computed.
  void change_owners(const Decision& decision, StepBatch& batch);
  void admit(SequenceGroup& group);
  void admit_in_runs(SequenceGroup& group);
  void pin_prefix(const SequenceGroup& group);
  static bool fit(BlockRuns& runs, std::span<const Blocks> wanted);
  std::vector<BlockId> take_run(Blocks blocks);
  /// Lets go of a table of device blocks, which is then empty.
  void release(std::vector<BlockId>& table);
  /// Lets go of all but the leading `keep` blocks of a waiting group's one sequence; what it has computed
  /// ends there.
  void trim(SequenceGroup& group, Blocks keep);
  void release_spare(SequenceGroup& group);
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
  void extend(Sequence& sequence, Tokens tokens);
  void drop(SequenceGroup& group, Blocks keep);
  void remember_sharing(SequenceGroup& group) const;
  void move(SequenceGroup& group, BlockPool& from, BlockPool& to, std::vector<BlockCopy>& copies);
  void fork(SequenceGroup& group, std::size_t parent, StepBatch& batch);
  void finish(SequenceGroup& group, std::size_t index);
  /// Marks a block; whether it was not marked since the last new_marks().
  bool mark(BlockId block) const;
  void new_marks() const { ++mark_; }

  Tokens block_size_;
  AllocationPolicy& allocation_;
  const SharingPolicy& sharing_;
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
};

}  // namespace pagelab
