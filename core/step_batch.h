// Filling a StepBatch (core/device.h): which tokens to run, over which blocks, and which next tokens to draw.
#pragma once

#include "core/device.h"
#include "core/emplace.h"
#include "core/group.h"

namespace pagelab {

/// Empties the batch, keeping its memory.
void clear(StepBatch& batch);

/// Adds positions [from, from + count) of a sequence. Its table must already reach them.
inline void append(StepBatch& batch, const SequenceGroup& group, const Sequence& sequence, Tokens from,
                   Tokens count) {
  emplace(batch.chunks) = {.blocks = sequence.blocks,
                           .first = static_cast<std::int32_t>(from.value()),
                           .count = static_cast<std::int32_t>(count.value()),
                           .row = static_cast<std::int32_t>(batch.tokens.size())};
  for (std::int64_t position = from.value(); position < (from + count).value(); ++position) {
    emplace(batch.tokens) = group.token(sequence, position);
  }
}

/// Asks for the next tokens of the group whose sequences are the last ones appended, all of them in order.
inline void append_samples(StepBatch& batch, const SequenceGroup& group) {
  const Sampling& sampling = group.request.sampling;
  ++batch.requests;
  const Chunk* chunk = batch.chunks.data() + batch.chunks.size() - group.live.size();
  for (const Sequence& sequence : group.live) {
    SampleRow& row = emplace(batch.samples);
    row.row = chunk->row + chunk->count - 1;
    ++chunk;
    row.position = static_cast<std::uint32_t>(sequence.output.size());
    switch (sampling.method) {
      case Sampling::Method::greedy:  // one sequence
        ++batch.greedy;
        break;
      case Sampling::Method::random:
        row.kind = SampleRow::Kind::random;
        row.count =
            sequence.output.empty() ? sampling.n : 1;  // the prompt's one row starts all parallel samples
        row.temperature = sampling.temperature;
        row.top_k = sampling.top_k;
        row.top_p = sampling.top_p;
        row.seed = sampling.seed;
        row.stream = static_cast<std::uint32_t>(sequence.sample);
        break;
      case Sampling::Method::beam:
        row.kind = SampleRow::Kind::top;
        row.count = 2 * sampling.n;  // enough for n beams to go on when n candidates end
        row.seed = sampling.seed;    // read by simulated devices, which have no logits
        row.stream = static_cast<std::uint32_t>(sequence.sample);
        break;
    }
    batch.candidates += row.count;
  }
}

}  // namespace pagelab
