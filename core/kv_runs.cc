// The part of the KV manager that serves sequences by runs of adjacent blocks instead of by pages: what a
// group gets when it is admitted, and what becomes of a run when a sequence splits or ends.
#include <algorithm>

#include <fmt/format.h>

#include "core/error.h"
#include "core/kv_manager.h"

namespace pagelab {

std::unique_ptr<BlockRuns> KvManager::make_runs() const {
  return ask_policy("allocation", [&] { return allocation_.make_runs(device_.capacity(), block_size_); });
}

void KvManager::append_runs(const SequenceGroup& group, std::vector<Blocks>& runs) const {
  runs.insert(runs.end(), static_cast<std::size_t>(group.width_left()),
              reserved(group, group.live.front().known()));
}

bool KvManager::fit(BlockRuns& runs, std::span<const Blocks> wanted) {
  return ask_policy("allocation", [&] {
    std::vector<BlockId> taken;
    for (const Blocks blocks : wanted) {
      const auto first = runs.take(blocks);
      if (!first) {
        break;
      }
      taken.push_back(*first);
    }
    for (std::size_t i = taken.size(); i-- > 0;) {
      runs.give_back(taken[i], wanted[i]);
    }
    return taken.size() == wanted.size();
  });
}

std::vector<BlockId> KvManager::take_run(Blocks blocks) {
  const auto first = ask_policy("allocation", [&] { return runs_->take(blocks); });
  if (!first) {
    throw BrokenRule("allocation",
                     fmt::format("it has no run of {} blocks where it just had one", blocks.value()));
  }
  std::vector<BlockId> table;
  for (std::int32_t i = 0; i < blocks.value(); ++i) {
    const BlockId block(first->value() + i);
    if (block.value() < 0 || Blocks(block.value()) >= device_.capacity() || !device_.is_free(block)) {
      throw BrokenRule("allocation", fmt::format("it hands out block {}, which is not free", block.value()));
    }
    device_.take(block);
    table.push_back(block);
  }
  return table;
}

void KvManager::admit_in_runs(SequenceGroup& group) {
  PAGELAB_INVARIANT(group.state == GroupState::waiting && group.spare.empty(),
                    fmt::format("request {}", group.request.id.value()));
  for (Sequence& sequence : group.live) {
    const Blocks run = reserved(group, sequence.known());
    if (run < blocks_for(group.final_length(), block_size_)) {
      throw BrokenRule("allocation",
                       fmt::format("it reserves {} blocks for request {}, which was accepted because it "
                                   "reserved as many as it will need",
                                   run.value(), group.request.id.value()));
    }
    sequence.blocks = take_run(run);
  }
  while (static_cast<std::int32_t>(group.live.size() + group.spare.size()) < group.width_left()) {
    group.spare.push_back(take_run(Blocks(static_cast<std::int64_t>(group.live.front().blocks.size()))));
  }
  group.state = GroupState::running;
}

/// The whole run is copied, as the Orca baseline of the PagedAttention paper does.
void KvManager::fork_into_run(SequenceGroup& group, std::size_t parent, StepBatch& batch) {
  PAGELAB_INVARIANT(!group.spare.empty(),
                    fmt::format("request {} has no run to fork into", group.request.id.value()));
  const std::vector<BlockId>& from = group.live[parent].blocks;
  std::vector<BlockId>& to = group.live.back().blocks;
  to = std::move(group.spare.back());
  group.spare.pop_back();
  for (std::size_t entry = 0; entry < to.size(); ++entry) {
    device_.set_fill(to[entry], device_.fill(from[entry]));
    batch.copies.push_back({.source = from[entry], .target = to[entry]});
  }
}

void KvManager::finish_in_run(SequenceGroup& group, Sequence& sequence) {
  const bool last =
      std::ranges::count_if(group.live, [](const Sequence& s) { return !s.blocks.empty(); }) == 1;
  if (group.request.sampling.method == Sampling::Method::beam && !last) {
    for (const BlockId block : sequence.blocks) {  // another beam may come to need the run; empty until then
      device_.release(block);
      device_.take(block);
    }
    group.spare.push_back(std::move(sequence.blocks));
    sequence.blocks.clear();
    return;
  }
  release(sequence.blocks);
  if (last) {
    release_spare(group);
  }
}

void KvManager::release_spare(SequenceGroup& group) {
  for (std::vector<BlockId>& table : group.spare) {
    release(table);
  }
  group.spare.clear();
}

}  // namespace pagelab
