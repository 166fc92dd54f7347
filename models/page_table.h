// PageTable: the CSR page table of a step (indptr, indices, last_block_len, positions, slot_mapping: the
// contract between block management and kernels), made from the chunks of a StepBatch. Owns its arrays, which
// stop growing once warm; a view is valid until the next build().
#pragma once

#include <cstdint>
#include <vector>

#include "core/device.h"
#include "kernels/ops.h"

namespace pagelab {

class PageTable {
 public:
  void build(const StepBatch& batch, std::int32_t block_size);

  kernels::AttentionBatch view() const {
    return {query_indptr_, kv_indptr_, kv_indices_, last_block_len_, positions_, slot_mapping_, weighed_, {}};
  }

 private:
  void add(const Chunk& chunk, std::int32_t block_size);

  std::vector<std::int32_t> query_indptr_, kv_indptr_, kv_indices_, last_block_len_, positions_,
      slot_mapping_, weighed_;
};

}  // namespace pagelab
