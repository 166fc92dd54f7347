#include "kernels/cuda/attention_plan.h"

#include <algorithm>

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {
namespace {

std::int32_t pieces(std::int64_t size, std::int64_t piece) {
  return static_cast<std::int32_t>((size + piece - 1) / piece);
}

/// The decodes of a batch, seen as lengths.
class DecodeLengths {
 public:
  DecodeLengths(const AttentionBatch& batch, std::int32_t block_size)
      : batch_(batch), block_size_(block_size) {}

  /// visit(sequence, context) for every sequence with one new token.
  template <class Visit>
  void for_each(Visit visit) const {
    for (std::size_t sequence = 0; sequence + 1 < batch_.query_indptr.size(); ++sequence) {
      if (batch_.query_indptr[sequence + 1] - batch_.query_indptr[sequence] == 1) {
        const std::int32_t blocks = batch_.kv_indptr[sequence + 1] - batch_.kv_indptr[sequence];
        visit(static_cast<std::int32_t>(sequence),
              (blocks - 1) * block_size_ + batch_.last_block_len[sequence]);
      }
    }
  }

  /// Granules of a partition when `slots` items per kv head can run at the same time. The smallest partition
  /// with which all items do; but with more decodes than slots as many rounds of items are allowed as there
  /// must be. And at most twice the fair share of all positions, so that one long context is not what the
  /// others wait for.
  std::int32_t partition(std::int32_t slots) const {
    std::int32_t decodes = 0;
    std::int32_t longest = 0;
    std::int64_t total = 0;
    for_each([&](std::int32_t, std::int32_t context) {
      const std::int32_t granules = pieces(context, kPartitionGranule);
      ++decodes;
      longest = std::max(longest, granules);
      total += granules;
    });
    const std::int32_t budget = slots * std::max(1, pieces(decodes, slots));
    std::int32_t low = kMinPartition / kPartitionGranule;
    std::int32_t high = std::max(low, std::min(longest, 2 * pieces(total, slots)));
    while (low < high) {
      const std::int32_t middle = (low + high) / 2;
      if (items(middle) <= budget) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    return low;
  }

 private:
  std::int64_t items(std::int32_t partition) const {
    std::int64_t count = 0;
    for_each([&](std::int32_t, std::int32_t context) {
      count += pieces(context, std::int64_t{partition} * kPartitionGranule);
    });
    return count;
  }

  const AttentionBatch& batch_;
  std::int32_t block_size_;
};

}  // namespace

void AttentionPlan::build(const AttentionBatch& batch, std::int32_t block_size, std::int32_t kv_heads,
                          std::int32_t multiprocessors) {
  decodes_.clear();
  merges_.clear();
  prefills_.clear();
  partials_ = 0;
  const DecodeLengths lengths(batch, block_size);
  const std::int32_t slots = std::max(1, kBlocksPerMultiprocessor * multiprocessors / kv_heads);
  const std::int32_t partition = lengths.partition(slots);
  lengths.for_each([&](std::int32_t sequence, std::int32_t context) { split(sequence, context, partition); });
  for (std::size_t sequence = 0; sequence + 1 < batch.query_indptr.size(); ++sequence) {
    const std::int32_t chunk = batch.query_indptr[sequence + 1] - batch.query_indptr[sequence];
    for (std::int32_t row = 0; chunk > 1 && row < chunk; row += kPrefillRows) {
      prefills_.push_back({static_cast<std::int32_t>(sequence), row});
    }
  }
}

void AttentionPlan::split(std::int32_t sequence, std::int32_t context, std::int32_t partition) {
  const std::int32_t granules = pieces(context, kPartitionGranule);
  const std::int32_t count = pieces(granules, partition);
  if (count == 1) {
    decodes_.push_back({sequence, 0, context, -1});
    return;
  }
  merges_.push_back({sequence, partials_, count});
  for (std::int32_t i = 0; i < count; ++i) {
    const auto boundary = [&](std::int32_t index) {
      return static_cast<std::int32_t>(std::int64_t{granules} * index / count) * kPartitionGranule;
    };
    decodes_.push_back({sequence, boundary(i), std::min(boundary(i + 1), context), partials_++});
  }
}

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
