// The part of the KV manager that serves sequences which do not keep all of their tokens (core/retention.h).
// The slots that a sequence holds are the first of its table, but for one hole at most, which its next token
// fills. When a policy drops more than one slot at a time, tokens of the last slots move into the holes, and
// the blocks that are not needed any more are let go of.
#include <algorithm>

#include <fmt/format.h>

#include "core/error.h"
#include "core/kv_manager.h"
#include "core/step_batch.h"

namespace pagelab {

namespace {

constexpr std::int32_t no_token = -1;

}  // namespace

void KvManager::require_retention(const DeviceCapacity& capacity, bool maps) const {
  const auto require = [this](bool possible, std::string_view why) {
    if (drops_ && !possible) {
      throw InputError(fmt::format("the retention policy drops tokens, {}", why));
    }
  };
  require(
      capacity.retention,
      "which the kernels of this device cannot serve: set policy.retention.name = \"all\", or device.kind = "
      "\"cpu\" or \"sim\"");
  require(!in_runs() && !maps,
          "but the allocation policy sets adjacent blocks aside for all of a sequence: set "
          "policy.allocation.name = \"paged\"");
  require(!pins_prefixes_ && !caches(),
          "but the sharing policy keeps prefixes for other requests: set policy.sharing.name = \"group\"");
}

Tokens KvManager::slots_at_most(const SequenceGroup& group) const {
  const Sequence& sequence = group.live.front();
  const Tokens decoding = std::min(group.retained.budget, group.final_length() - sequence.dropped);
  return sequence.computed < sequence.prompt ? std::max(sequence.prompt, decoding) : decoding;
}

Tokens KvManager::most_at_once(const SequenceGroup& group) const {
  const Sequence& sequence = group.live.front();
  return std::max(sequence.prompt - sequence.computed, group.retained.budget - held(sequence));
}

std::int32_t KvManager::device_slot(const Sequence& sequence, std::int32_t slot) const {
  const auto size = static_cast<std::int32_t>(block_size_.value());
  return sequence.blocks[static_cast<std::size_t>(slot / size)].value() * size + slot % size;
}

void KvManager::fill_slot(SequenceGroup& group, std::int32_t slot, std::int32_t position) {
  RetainedSlots& retained = group.retained;
  const auto index = static_cast<std::size_t>(slot);
  if (index == retained.positions.size()) {
    retained.positions.push_back(position);
    if (weighs_) {
      retained.weights.push_back(0);
    }
  } else {
    retained.positions[index] = position;
    if (weighs_) {
      retained.weights[index] = 0;
    }
  }
  const BlockId block = group.live.front().blocks[index / static_cast<std::size_t>(block_size_.value())];
  device_.set_fill(block, device_.fill(block) + Tokens(1));
}

void KvManager::write_retained(SequenceGroup& group, Sequence& sequence, Tokens tokens, StepBatch& batch) {
  for (Blocks lack = lacking(sequence, tokens); lack > Blocks(0); lack -= Blocks(1)) {
    sequence.blocks.push_back(device_.allocate());
  }
  append(batch, group, sequence, sequence.computed, tokens);
  Chunk& chunk = batch.chunks.back();
  chunk.dropped = static_cast<std::int32_t>(sequence.dropped.value());
  chunk.hole = group.retained.hole;
  for (std::int32_t i = 0; i < chunk.count; ++i) {
    fill_slot(group, chunk.slot(i), chunk.first + i);
  }
  group.retained.hole = Chunk::none;
  if (weighs_) {
    batch.weighed.push_back({.chunk = static_cast<std::int32_t>(batch.chunks.size()) - 1,
                             .seed = group.request.sampling.seed,
                             .positions = group.retained.positions});
  }
}

void KvManager::drop_tokens(SequenceGroup& group, StepBatch& batch) {
  RetainedSlots& retained = group.retained;
  Sequence& sequence = group.live.front();
  PAGELAB_INVARIANT(group.state == GroupState::running && retained.hole == Chunk::none,
                    fmt::format("request {}", group.request.id.value()));
  for (const std::int32_t slot : retained.dropping) {
    retained.positions[static_cast<std::size_t>(slot)] = no_token;
  }
  sequence.dropped += Tokens(static_cast<std::int64_t>(retained.dropping.size()));
  while (retained.positions.back() == no_token) {
    retained.positions.pop_back();
  }
  const auto valid = static_cast<std::size_t>(held(sequence).value());
  if (retained.positions.size() == valid + 1) {
    retained.hole =
        static_cast<std::int32_t>(std::find(retained.positions.begin(), retained.positions.end(), no_token) -
                                  retained.positions.begin());
  } else {
    compact(group, batch);
  }
  if (weighs_) {
    retained.weights.resize(retained.positions.size());
  }
  trim_retained(group);
}

void KvManager::compact(SequenceGroup& group, StepBatch& batch) const {
  RetainedSlots& retained = group.retained;
  const Sequence& sequence = group.live.front();
  const auto valid = static_cast<std::size_t>(held(sequence).value());
  std::size_t from = retained.positions.size();
  for (std::size_t hole = 0; hole < valid; ++hole) {
    if (retained.positions[hole] != no_token) {
      continue;
    }
    do {
      --from;
    } while (retained.positions[from] == no_token);
    retained.positions[hole] = retained.positions[from];
    if (weighs_) {
      retained.weights[hole] = retained.weights[from];
    }
    batch.moves.push_back({.source = device_slot(sequence, static_cast<std::int32_t>(from)),
                           .target = device_slot(sequence, static_cast<std::int32_t>(hole))});
  }
  retained.positions.resize(valid);
}

void KvManager::trim_retained(SequenceGroup& group) {
  Sequence& sequence = group.live.front();
  const auto kept = static_cast<std::size_t>(blocks_for(slots_at_most(group), block_size_).value());
  while (sequence.blocks.size() > kept) {
    device_.release(sequence.blocks.back());
    sequence.blocks.pop_back();
  }
  for (std::size_t entry = 0; entry < sequence.blocks.size(); ++entry) {
    device_.lower_fill(sequence.blocks[entry], filled_slots(group, entry));
  }
}

Tokens KvManager::filled_slots(const SequenceGroup& group, std::size_t entry) const {
  const RetainedSlots& retained = group.retained;
  const Tokens start = static_cast<std::int64_t>(entry) * block_size_;
  const Tokens used(static_cast<std::int64_t>(retained.positions.size()));
  const Tokens hole(retained.hole);
  const Tokens filled = std::clamp(used - start, Tokens(0), block_size_);
  return filled - Tokens(hole >= start && hole < start + block_size_ ? 1 : 0);
}

void KvManager::forget_retained(SequenceGroup& group) {
  group.live.front().dropped = Tokens(0);
  group.retained.positions.clear();
  group.retained.weights.clear();
  group.retained.hole = Chunk::none;
}

void KvManager::check_retained(const SequenceGroup& group, const BlockPool& pool) const {
  const Sequence& sequence = group.live.front();
  const RetainedSlots& retained = group.retained;
  const std::string who = fmt::format("request {}", group.request.id.value());
  std::vector<std::int32_t> positions;
  std::copy_if(retained.positions.begin(), retained.positions.end(), std::back_inserter(positions),
               [](std::int32_t position) { return position != no_token; });
  std::sort(positions.begin(), positions.end());
  PAGELAB_INVARIANT(static_cast<std::int64_t>(positions.size()) == held(sequence).value(), who);
  PAGELAB_INVARIANT(retained.positions.size() == positions.size() + (retained.hole == Chunk::none ? 0 : 1),
                    who);
  PAGELAB_INVARIANT(
      retained.hole == Chunk::none || retained.positions[static_cast<std::size_t>(retained.hole)] == no_token,
      who);
  PAGELAB_INVARIANT(std::adjacent_find(positions.begin(), positions.end()) == positions.end(), who);
  PAGELAB_INVARIANT(positions.empty() || positions.back() + 1 == sequence.computed.value(), who);
  PAGELAB_INVARIANT(!weighs_ || retained.weights.size() == retained.positions.size(), who);
  for (std::size_t entry = 0; entry < sequence.blocks.size(); ++entry) {
    PAGELAB_INVARIANT(pool.fill(sequence.blocks[entry]) == filled_slots(group, entry), who);
  }
}

}  // namespace pagelab
