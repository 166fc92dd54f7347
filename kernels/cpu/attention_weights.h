// AttentionWeights: how much attention each slot of a sequence receives, for the sequences whose weights a
// batch asks for (AttentionBatch::weighed). A weight is known only when a row's softmax is, so it is a second
// pass: scores are computed again from K, against the softmax that the first pass kept.
//
// Owns its scratch memory, which stops growing once warm. Threads share out the slots, each slot adds up its
// weights in double, and weights are multiples of 2^-23: a sum is the same whatever the number of threads and
// the chunks that a sequence was cut into.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/cpu/kv_cache.h"
#include "kernels/cpu/paged_attention_kernels.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/ops.h"

namespace pagelab::kernels::cpu {

class AttentionWeights {
 public:
  /// Borrows the pool for its lifetime.
  explicit AttentionWeights(ThreadPool& pool);

  /// Makes room for the softmax of each token of the batch and each of `heads` query heads.
  void begin(const AttentionBatch& batch, std::int32_t heads);
  /// The softmax of a row over all slots that it sees, in base 2 (RowStates). From any thread.
  void keep_softmax(std::int32_t token, std::int32_t head, float max, float sum) {
    const auto row =
        static_cast<std::size_t>(token) * static_cast<std::size_t>(heads_) + static_cast<std::size_t>(head);
    max_[row] = max;
    sum_[row] = sum;
  }
  /// Adds what the batch asks for, once every row's softmax is kept. `factor` is the scale of scores in
  /// base 2.
  void add(const KvCache& cache, std::int32_t layer, Tensor qkv, float factor, const AttentionBatch& batch);

 private:
  /// One partition of one sequence.
  struct Item {
    std::size_t sequence;
    std::int32_t partition;
    double* weights;  ///< of the partition's first slot
  };
  struct Worker {
    std::vector<float> q, scores, max, sum;
    std::vector<std::byte> staging;
    std::vector<std::int32_t> limits;
    std::vector<const float*> q_rows;
    PartitionAddresses addresses;

    void reserve(std::size_t rows, std::size_t head_size);
  };
  /// The arguments of the call at hand.
  struct Call {
    const KvCache& cache;
    std::int32_t layer;
    Tensor qkv;
    float factor;
    const AttentionBatch& batch;
    std::int32_t group;  ///< query heads per kv head
  };
  /// Some tokens of a sequence and some kv heads.
  struct Rows {
    std::int32_t first_token, tokens, context, first_head, heads;
  };

  void run_item(const Call& call, const Item& item, Worker& worker) const;
  void add_rows(const Call& call, const Item& item, const Rows& rows, Worker& worker) const;

  ThreadPool& pool_;
  std::int32_t heads_ = 0;
  std::vector<float> max_, sum_;  ///< [tokens, heads]
  std::vector<Item> items_;
  std::vector<Worker> workers_;
};

}  // namespace pagelab::kernels::cpu
