// SequenceGroup: the sequences of one request, scheduled and preempted together, and what has become of them.
//
// A group owns its request and its sequences. A Sequence's block table is written by KvManager alone; its
// tokens by the engine's commit alone. Nothing here allocates blocks or decides anything.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/eviction.h"
#include "core/ids.h"
#include "core/request.h"

namespace pagelab {

/// One stream of tokens. Its KV of positions 0 .. computed-1 is in the blocks of its table. The first four
/// members are what planning and accounting read of every sequence in every step; they fill one cache line.
struct alignas(64) Sequence {
  Tokens prompt;                ///< tokens of the request's prompt
  Tokens computed;              ///< tokens whose KV is in a pool (planned ones included while a step runs)
  std::vector<BlockId> blocks;  ///< block table: device blocks while running, host blocks while swapped
  std::vector<TokenId> output;  ///< tokens produced so far
  std::vector<float> logprobs;  ///< of each of them
  double score = 0;             ///< sum of logprobs
  Tokens most_computed;         ///< the largest `computed` so far: below it, computing is recomputing
  std::int32_t sample = 0;      ///< its number within the request: names its random stream

  // While the group waits: the first `shared` tokens are those of sequence `shared_with` (an earlier index of
  // the group, so that a group preempted comes back with the sharing it had), of a pinned prefix or of the
  // prefix cache; whole blocks only. They count as computed: the other sequence will compute them first, or
  // somebody has.
  std::int32_t shared_with = -1;  ///< -1 while `shared` is not 0: a pinned or cached prefix
  Tokens shared;

  // Where blocks are cached: how many of the table's first blocks are known to the prefix cache, and the last
  // of them; while the group waits, what it would find there.
  std::int64_t listed = 0;
  CacheEntry tip{-1};

  /// The table entry that holds `position`, or would hold it next. It is mostly the last: found without
  /// dividing.
  std::size_t entry_of(Tokens position, Tokens block_size) const {
    const auto size = block_size.value();
    const auto last = static_cast<std::int64_t>(blocks.size()) - 1;
    const bool in_last = position.value() >= last * size && position.value() < (last + 1) * size;
    return static_cast<std::size_t>(in_last ? last : position.value() / size);
  }
  Tokens known() const { return prompt + Tokens(static_cast<std::int64_t>(output.size())); }
  Tokens pending() const { return known() - computed; }
};

/// A sequence that has ended.
struct FinishedSequence {
  std::int32_t sample = 0;
  std::vector<TokenId> output;
  std::vector<float> logprobs;
  double score = 0;  ///< sum of logprobs; for beams divided by length^penalty
};

enum class GroupState : std::uint8_t { waiting, running, swapped, finished };

/// What every step touches comes first, in two cache lines.
struct alignas(64) SequenceGroup {
  GroupState state = GroupState::waiting;
  bool restoring = false;      ///< admitted again after a recompute preemption, not yet caught up
  double key = 0;              ///< the scheduling policy's; smaller first
  std::vector<Sequence> live;  ///< sequences that still grow, in order of `sample` or of beam rank
  Seconds first_token{-1};     ///< negative until it is produced
  Tokens recomputed;           ///< so far, over all sequences
  Tokens hits;                 ///< prompt tokens found in the prefix cache when it was first admitted
  Request request;

  /// Runs set aside for sequences that the group does not have yet, where every sequence has a run of its
  /// own.
  std::vector<std::vector<BlockId>> spare;
  std::vector<FinishedSequence> done;
  std::size_t slot = 0;  ///< its place in the engine's list
  Seconds admitted{-1};  ///< first time in a step; negative until then
  Seconds finished{-1};
  std::int32_t preempted_recompute = 0;
  std::int32_t preempted_swap = 0;

  /// Tokens known but not computed, over all live sequences.
  Tokens pending() const {
    Tokens sum;
    for (const Sequence& sequence : live) {
      sum += sequence.pending();
    }
    return sum;
  }
  /// Whether every live sequence lacks just the token drawn last, given what pending() says. (A live sequence
  /// never lacks nothing.)
  bool decoding(Tokens all_pending) const {
    return all_pending == Tokens(static_cast<std::int64_t>(live.size())) && !live.front().output.empty();
  }
  /// The token at `position` of a sequence of this group. Requires position < sequence.known().
  TokenId token(const Sequence& sequence, std::int64_t position) const {
    const std::int64_t prompt = sequence.prompt.value();
    return position < prompt ? request.prompt[static_cast<std::size_t>(position)]
                             : sequence.output[static_cast<std::size_t>(position - prompt)];
  }
  /// Sequences that the group will have once its prompt is computed.
  std::int32_t width() const { return request.sampling.n; }
  /// Sequences that it can come to have from now on.
  std::int32_t width_left() const {
    const bool split = !live.front().output.empty() && request.sampling.method != Sampling::Method::beam;
    return split ? static_cast<std::int32_t>(live.size()) : width();
  }
  /// KV slots that a sequence fills at most: the last token's KV is never needed.
  Tokens final_length() const {
    return Tokens(static_cast<std::int64_t>(request.prompt.size())) + request.max_output - Tokens(1);
  }
};

}  // namespace pagelab
