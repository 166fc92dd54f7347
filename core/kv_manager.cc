#include "core/kv_manager.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/emplace.h"
#include "core/error.h"
#include "core/step_batch.h"

namespace pagelab {

namespace {

std::string describe(const SequenceGroup& group) {
  return fmt::format("request {}", group.request.id.value());
}

}  // namespace

KvManager::KvManager(const DeviceCapacity& capacity, AllocationPolicy& allocation,
                     const SharingPolicy& sharing, EvictionPolicy& eviction, const RetentionPolicy& retention)
    : block_size_(capacity.block_size),
      drops_(!ask_policy("retention", [&] { return retention.keeps_all(); })),
      weighs_(drops_ && ask_policy("retention", [&] { return retention.wants_weights(); })),
      allocation_(allocation),
      within_group_(ask_policy("sharing", [&] { return sharing.within_group(); })),
      pins_prefixes_(ask_policy("sharing", [&] { return sharing.pins_prefixes(); })),
      caches_outputs_(ask_policy("sharing", [&] { return sharing.caches_outputs(); })),
      device_(capacity.device_blocks, capacity.block_size),
      host_(capacity.host_blocks, capacity.block_size),
      runs_(make_runs()),
      empty_(make_runs()),
      pinned_(capacity.block_size),
      marks_(static_cast<std::size_t>(std::max(capacity.device_blocks, capacity.host_blocks).value()), 0),
      moved_to_(marks_.size()) {
  if ((runs_ == nullptr) != (empty_ == nullptr)) {
    throw BrokenRule("allocation", "it makes an allocator of runs only now and then");
  }
  if (auto index =
          ask_policy("sharing", [&] { return sharing.make_index(device_.capacity(), block_size_); })) {
    cache_ = std::make_unique<PrefixCache>(std::move(index), eviction, device_.capacity());
  }
  start_allocation(capacity);
  const bool maps = capacity.maps_pages || ask_policy("allocation", [&] { return allocation_.maps_pages(); });
  if ((runs_ || maps) && (within_group_ || pins_prefixes_ || cache_)) {
    throw InputError(fmt::format("{}, so no block can be shared: set policy.sharing.name = \"none\"",
                                 runs_
                                     ? "the allocation policy gives every sequence a run of blocks of its own"
                                     : "each sequence's blocks are mapped to addresses of its own"));
  }
  require_retention(capacity, maps);
}

void KvManager::start_allocation(const DeviceCapacity& capacity) {
  try {
    allocation_.start(capacity);
  } catch (const InputError&) {
    throw;  // this device cannot serve it
  } catch (const std::exception& error) {
    throw BrokenRule("allocation", fmt::format("it threw '{}'", error.what()));
  }
}

bool KvManager::mark(BlockId block) const {
  const bool first = marks_[block.index()] != mark_;
  marks_[block.index()] = mark_;
  return first;
}

inline void KvManager::extend(SequenceGroup& group, Sequence& sequence, Tokens tokens) {
  const Tokens end = sequence.computed + tokens;
  for (Blocks lack = lacking(sequence, tokens); lack > Blocks(0); lack -= Blocks(1)) {
    emplace(sequence.blocks) = new_block(group);
  }
  Tokens start = static_cast<std::int64_t>(sequence.blocks.size() - 1) * block_size_;
  if (sequence.computed >= start) {  // most steps stay within the last block
    device_.set_fill(sequence.blocks.back(), end - start);
    return;
  }
  std::size_t entry = sequence.entry_of(sequence.computed, block_size_);
  for (start = static_cast<std::int64_t>(entry) * block_size_; end - start > block_size_;
       start += block_size_) {
    device_.set_fill(sequence.blocks[entry++], block_size_);
  }
  device_.set_fill(sequence.blocks[entry], end - start);
}

inline void KvManager::write(SequenceGroup& group, Sequence& sequence, Tokens tokens, StepBatch& batch) {
  if (drops_) {
    write_retained(group, sequence, tokens, batch);
  } else {
    extend(group, sequence, tokens);
    append(batch, group, sequence, sequence.computed, tokens);
  }
  const Tokens after = sequence.computed + tokens;
  if (sequence.computed < sequence.most_computed) {
    group.recomputed += std::min(after, sequence.most_computed) - sequence.computed;
  }
  sequence.computed = after;
  sequence.most_computed = std::max(sequence.most_computed, after);
}

void KvManager::compute(const Decision& decision, StepBatch& batch, std::vector<Decision>& log) {
  SequenceGroup& group = *decision.group;
  const bool all = decision.completes;
  PAGELAB_INVARIANT(group.state == GroupState::running, describe(group));
  if (group.live.size() == 1) {
    Sequence& sequence = group.live.front();
    if (const Tokens share = share_of(sequence, all, decision.tokens); share > Tokens(0)) {
      write(group, sequence, share, batch);
    }
  } else {
    compute_all(group, decision, batch, log);
  }
  group.restoring = group.restoring && !all;
}

void KvManager::compute_all(SequenceGroup& group, const Decision& decision, StepBatch& batch,
                            std::vector<Decision>& log) {
  Tokens left = decision.tokens;
  for (Sequence& sequence : group.live) {
    const Tokens share = share_of(sequence, decision.completes, left);
    left -= share;
    if (share == Tokens(0)) {
      continue;
    }
    // Between siblings a block may be shared with some owner yet to write into it. While a group is restored
    // that is no conflict: only whole blocks of equal tokens are shared, and one sequence fills them for all.
    if (!group.restoring) {
      unshare(group, static_cast<std::size_t>(&sequence - group.live.data()), batch, log);
    }
    write(group, sequence, share, batch);
  }
}

void KvManager::change_owners(const Decision& decision, StepBatch& batch) {
  SequenceGroup& group = *decision.group;
  switch (decision.kind) {
    case DecisionKind::share:
      share(group);
      break;
    case DecisionKind::admit:
      runs_ ? admit_in_runs(group) : admit(group, decision.blocks);
      break;
    case DecisionKind::preempt_recompute:
      drop(group, decision.keep);
      break;
    case DecisionKind::trim:
      kept_ -= Blocks(static_cast<std::int64_t>(group.live.front().blocks.size()));
      trim(group, decision.keep);
      break;
    case DecisionKind::preempt_swap:
      move(group, device_, host_, batch.swap_out);
      group.state = GroupState::swapped;
      break;
    case DecisionKind::swap_in:
      move(group, host_, device_, batch.swap_in);
      group.state = GroupState::running;
      break;
    case DecisionKind::fork:
      fork(group, static_cast<std::size_t>(decision.sequence), batch);
      break;
    case DecisionKind::pin_prefix:
      pin_prefix(group);
      break;
    case DecisionKind::finish:
      finish(group, static_cast<std::size_t>(decision.sequence));
      break;
    case DecisionKind::drop_tokens:
      drop_tokens(group, batch);
      break;
    case DecisionKind::cache:
      list_blocks(group);
      break;
    case DecisionKind::proceed:
    case DecisionKind::copy_on_write:
    case DecisionKind::evict:
      PAGELAB_INVARIANT(false, fmt::format("'{}' changes no owners by itself", name_of(decision.kind)));
  }
}

void KvManager::admit(SequenceGroup& group, Blocks planned) {
  PAGELAB_INVARIANT(group.state == GroupState::waiting, describe(group));
  const std::span<const BlockId> prefix = pinned_.match(group.request.prompt);
  set_aside_.clear();
  Blocks sum;
  for (const Sequence& sequence : group.live) {
    set_aside_.push_back(reserved(group, slots_to_admit(group, sequence)));
    sum += set_aside_.back();
  }
  if (planned >= Blocks(0) && sum != planned) {
    throw BrokenRule("allocation",
                     fmt::format("it reserves {} blocks for request {} where it just reserved {}",
                                 sum.value(), group.request.id.value(), planned.value()));
  }
  const Blocks longest = *std::ranges::max_element(set_aside_);
  if (planned >= Blocks(0) && blocks_at_most(group, longest) + pinned() > device_.capacity()) {
    throw BrokenRule("allocation",
                     fmt::format("it reserves {} blocks for request {}, which then may not fit the pool; it "
                                 "reserved less when the request was accepted",
                                 longest.value(), group.request.id.value()));
  }
  for (std::size_t i = 0; i < group.live.size(); ++i) {
    Sequence& sequence = group.live[i];
    const auto blocks = static_cast<std::size_t>(set_aside_[i].value());
    const auto shared = static_cast<std::size_t>(sequence.shared / block_size_);
    const std::size_t there =
        sequence.blocks.size();  // cached ones that it begins with, or those that it kept
    kept_ -= Blocks(cache_ ? 0 : static_cast<std::int64_t>(there));
    sequence.blocks.reserve(static_cast<std::size_t>(blocks_for(group.final_length(), block_size_).value()));
    for (std::size_t entry = there; entry < blocks; ++entry) {
      if (entry < shared) {
        sequence.blocks.push_back(
            sequence.shared_with < 0
                ? prefix[entry]
                : group.live[static_cast<std::size_t>(sequence.shared_with)].blocks[entry]);
        device_.retain(sequence.blocks.back());
      } else {
        sequence.blocks.push_back(new_block(group));
      }
    }
  }
  group.state = GroupState::running;
}

void KvManager::release(std::vector<BlockId>& table) {
  for (const BlockId block : table) {
    device_.release(block);
  }
  if (runs_ && !table.empty()) {
    ask_policy("allocation",
               [&] { runs_->give_back(table.front(), Blocks(static_cast<std::int64_t>(table.size()))); });
  }
  if (cache_) {
    cache_->let_go(table, [this](BlockId block) { return device_.shared(block); });
  }
  table.clear();
}

void KvManager::unshare(SequenceGroup& group, std::size_t index, StepBatch& batch,
                        std::vector<Decision>& log) {
  const Sequence& sequence = group.live[index];
  for (std::size_t entry = first_written(sequence); entry < sequence.blocks.size(); ++entry) {
    if (device_.shared(sequence.blocks[entry])) {
      copy_on_write(group, index, entry, batch, log);
    }
  }
}

void KvManager::copy_on_write(SequenceGroup& group, std::size_t index, std::size_t table_entry,
                              StepBatch& batch, std::vector<Decision>& log) {
  BlockId& block = group.live[index].blocks[table_entry];
  const BlockId copy = new_block(group);
  device_.set_fill(copy, device_.fill(block));
  batch.copies.push_back({.source = block, .target = copy});
  device_.release(block);
  block = copy;
  log.push_back({.kind = DecisionKind::copy_on_write,
                 .group = &group,
                 .sequence = static_cast<std::int32_t>(index),
                 .tokens = device_.fill(copy),
                 .reason = "the block is shared"});
}

std::size_t KvManager::first_written(const Sequence& sequence) const {
  return within_group_ ? sequence.entry_of(sequence.computed, block_size_) : 0;
}

void KvManager::drop(SequenceGroup& group, Blocks keep) {
  remember_sharing(group);
  if (keep > Blocks(0)) {
    trim(group, keep);
  } else {
    for (Sequence& sequence : group.live) {
      release(sequence.blocks);
      sequence.computed = sequence.shared;
      forget_listed(sequence);
    }
    release_spare(group);
  }
  if (drops_) {
    forget_retained(group);
  }
  group.state = GroupState::waiting;
  group.restoring = true;
}

void KvManager::trim(SequenceGroup& group, Blocks keep) {
  Sequence& sequence = group.live.front();
  const auto blocks = static_cast<std::size_t>(keep.value());
  PAGELAB_INVARIANT(!runs_ && group.live.size() == 1 && blocks < sequence.blocks.size() &&
                        keep.value() * block_size_ <= sequence.computed,
                    describe(group));
  for (std::size_t entry = blocks; entry < sequence.blocks.size(); ++entry) {
    device_.release(sequence.blocks[entry]);
  }
  sequence.blocks.resize(blocks);
  sequence.computed = std::max(sequence.shared, keep.value() * block_size_);
  kept_ += keep;
}

void KvManager::remember_sharing(SequenceGroup& group) const {
  for (std::size_t i = 0; i < group.live.size(); ++i) {
    Sequence& sequence = group.live[i];
    sequence.shared = pinned_.leading(sequence.blocks).value() * block_size_;
    sequence.shared_with = -1;
    for (std::size_t j = 0; j < i && within_group_; ++j) {
      const auto& other = group.live[j].blocks;
      const auto differ =
          std::mismatch(sequence.blocks.begin(), sequence.blocks.end(), other.begin(), other.end());
      const std::int64_t common = differ.first - sequence.blocks.begin();
      const Tokens shared = std::min(common, sequence.computed / block_size_) * block_size_;
      if (shared > sequence.shared) {
        sequence.shared = shared;
        sequence.shared_with = static_cast<std::int32_t>(j);
      }
    }
  }
}

void KvManager::move(SequenceGroup& group, BlockPool& from, BlockPool& to, std::vector<BlockCopy>& copies) {
  new_marks();
  for (Sequence& sequence : group.live) {
    left_.assign(sequence.blocks.begin(), sequence.blocks.end());
    for (BlockId& block : sequence.blocks) {
      if (mark(block)) {
        const BlockId target = &to == &device_ ? new_block(group) : to.allocate();
        to.set_fill(target, from.fill(block));
        copies.push_back({.source = block, .target = target});
        moved_to_[block.index()] = target;
      } else {
        to.retain(moved_to_[block.index()]);
      }
      const BlockId source = block;
      block = moved_to_[source.index()];
      from.release(source);
    }
    if (cache_ && &from == &device_) {
      cache_->let_go(left_, [this](BlockId block) { return device_.shared(block); });
    }
    forget_listed(sequence);
  }
}

void KvManager::fork(SequenceGroup& group, std::size_t parent, StepBatch& batch) {
  Sequence child;
  for (Sequence& other : group.live) {
    if (other.blocks.empty()) {  // a beam that has just ended: its memory serves again
      child = std::move(other);
      break;
    }
  }
  const auto longest = static_cast<std::size_t>(group.request.max_output.value());
  child.output.reserve(longest);
  child.logprobs.reserve(longest);
  child = group.live[parent];
  group.live.push_back(std::move(child));
  if (runs_) {
    fork_into_run(group, parent, batch);
    return;
  }
  for (const BlockId block : group.live.back().blocks) {
    device_.retain(block);
  }
}

void KvManager::finish(SequenceGroup& group, std::size_t index) {
  Sequence& sequence = group.live[index];
  if (group.state == GroupState::swapped) {
    for (const BlockId block : sequence.blocks) {
      host_.release(block);
    }
    sequence.blocks.clear();
  } else if (runs_) {
    finish_in_run(group, sequence);
  } else {
    release(sequence.blocks);
  }
  sequence.computed = Tokens(0);
}

void KvManager::check_integrity(std::span<SequenceGroup* const> holding,
                                std::span<SequenceGroup* const> swapped) const {
  const auto check = [this](const BlockPool& pool, std::span<SequenceGroup* const> groups,
                            std::span<const BlockId> kept) {
    pool.check_integrity();
    std::vector<std::int32_t> owners(static_cast<std::size_t>(pool.capacity().value()), 0);
    for (const BlockId block : kept) {
      ++owners[block.index()];
    }
    for (const SequenceGroup* group : groups) {
      if (drops_) {
        check_retained(*group, pool);
      }
      for (const Sequence& sequence : group->live) {
        PAGELAB_INVARIANT(static_cast<std::int64_t>(sequence.blocks.size()) >=
                              blocks_for(held(sequence), block_size_).value(),
                          fmt::format("request {}: {} tokens computed, {} blocks", group->request.id.value(),
                                      sequence.computed.value(), sequence.blocks.size()));
        for (const BlockId block : sequence.blocks) {
          ++owners[block.index()];
        }
      }
      for (const std::vector<BlockId>& table : group->spare) {
        for (const BlockId block : table) {
          ++owners[block.index()];
        }
      }
    }
    for (std::size_t i = 0; i < owners.size(); ++i) {
      const std::int32_t counted = pool.references(BlockId(static_cast<std::int32_t>(i)));
      PAGELAB_INVARIANT(owners[i] == counted,
                        fmt::format("block {}: {} owners, count {}", i, owners[i], counted));
    }
  };
  check(device_, holding,
        cache_ ? cache_->blocks() : std::vector(pinned_.blocks().begin(), pinned_.blocks().end()));
  check(host_, swapped, {});
  if (cache_) {
    cache_->check_integrity();
  }
  Blocks kept;
  for (const SequenceGroup* group : holding) {
    const bool waits = group->state == GroupState::waiting;
    kept += Blocks(waits ? static_cast<std::int64_t>(group->live.front().blocks.size()) : 0);
  }
  PAGELAB_INVARIANT(kept == kept_, fmt::format("{} blocks are kept, count {}", kept.value(), kept_.value()));
}

}  // namespace pagelab
