#include "core/step_batch.h"

namespace pagelab {

void clear(StepBatch& batch) {
  for (auto* copies : {&batch.swap_out, &batch.swap_in, &batch.copies}) {
    copies->clear();
  }
  batch.moves.clear();
  batch.chunks.clear();
  batch.weighed.clear();
  batch.tokens.clear();
  batch.samples.clear();
  batch.candidates = 0;
  batch.requests = 0;
  batch.greedy = 0;
  batch.forked = Tokens(0);
  batch.mapped = Blocks(0);
}

}  // namespace pagelab
