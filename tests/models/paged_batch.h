// Builds the batch of a step by hand: sequences with block tables out of order, for tests below the engine.
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "core/device.h"
#include "kernels/ops.h"
#include "models/page_table.h"

namespace pagelab::test {

/// Hands out the blocks of a pool from the last to the first, so that tables are not in order.
class BlockSource {
 public:
  explicit BlockSource(std::int32_t blocks) : next_(blocks) {}
  BlockId take() { return BlockId(--next_); }

 private:
  std::int32_t next_;
};

struct TestSequence {
  std::vector<BlockId> blocks;
  std::int32_t computed = 0;
};

class BatchBuilder {
 public:
  BatchBuilder(std::int32_t block_size, BlockSource& blocks) : block_size_(block_size), blocks_(blocks) {}

  /// Adds the next tokens of a sequence, which must stay as it is until the step is done. Returns the index
  /// of the last one in the batch.
  std::int32_t add(TestSequence& sequence, std::span<const TokenId> tokens) {
    const std::int32_t first = sequence.computed;
    const auto row = static_cast<std::int32_t>(batch_.tokens.size());
    for (const TokenId token : tokens) {
      if (sequence.computed % block_size_ == 0) {
        sequence.blocks.push_back(blocks_.take());
      }
      batch_.tokens.push_back(token);
      ++sequence.computed;
    }
    batch_.chunks.push_back({sequence.blocks, first, static_cast<std::int32_t>(tokens.size()), row});
    return static_cast<std::int32_t>(batch_.tokens.size()) - 1;
  }

  void sample(const SampleRow& row) {
    batch_.samples.push_back(row);
    batch_.candidates += row.count;
  }

  StepBatch& batch() { return batch_; }
  /// Valid until the next call.
  kernels::AttentionBatch attention() {
    table_.build(batch_, block_size_);
    return table_.view();
  }

 private:
  std::int32_t block_size_;
  BlockSource& blocks_;
  StepBatch batch_;
  PageTable table_;
};

}  // namespace pagelab::test
