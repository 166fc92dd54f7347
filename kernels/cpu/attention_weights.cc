#include "kernels/cpu/attention_weights.h"

#include <algorithm>

#include "kernels/cpu/partition_addresses.h"

namespace pagelab::kernels::cpu {

namespace {

template <class T>
void grow(std::vector<T>& array, std::size_t size) {
  if (array.size() < size) {
    array.resize(size);
  }
}

}  // namespace

AttentionWeights::AttentionWeights(ThreadPool& pool)
    : pool_(pool), workers_(static_cast<std::size_t>(pool.threads())) {}

void AttentionWeights::Worker::reserve(std::size_t rows, std::size_t head_size) {
  grow(q, rows * head_size);
  grow(scores, rows * kScoreStride);
  grow(max, rows);
  grow(sum, rows);
  grow(staging, staging_bytes(static_cast<std::int32_t>(head_size)));
  grow(limits, rows);
  grow(q_rows, rows);
}

void AttentionWeights::begin(const AttentionBatch& batch, std::int32_t heads) {
  heads_ = heads;
  grow(max_, batch.positions.size() * static_cast<std::size_t>(heads));
  grow(sum_, max_.size());
}

void AttentionWeights::add(const KvCache& cache, std::int32_t layer, Tensor qkv, float factor,
                           const AttentionBatch& batch) {
  const Call call{cache, layer, qkv, factor, batch, heads_ / cache.shape().kv_heads};
  items_.clear();
  double* weights = batch.slot_weights.data();
  for (const std::int32_t sequence : batch.weighed) {
    const auto index = static_cast<std::size_t>(sequence);
    const std::int32_t context = batch.context(index, cache.shape().block_size);
    for (std::int32_t partition = 0; partition * kPartitionTokens < context; ++partition) {
      items_.push_back({index, partition, weights + std::ptrdiff_t{partition} * kPartitionTokens});
    }
    weights += context;
  }
  const auto rows = static_cast<std::size_t>(std::max({kRowsPerChunk, heads_, call.group}));
  for (Worker& worker : workers_) {
    worker.reserve(rows, static_cast<std::size_t>(cache.shape().head_size));
  }
  pool_.for_each(static_cast<std::int64_t>(items_.size()), [&](std::int64_t item, int worker) {
    run_item(call, items_[static_cast<std::size_t>(item)], workers_[static_cast<std::size_t>(worker)]);
  });
}

void AttentionWeights::run_item(const Call& call, const Item& item, Worker& worker) const {
  const std::int32_t kv_heads = call.cache.shape().kv_heads;
  const std::int32_t first = call.batch.query_indptr[item.sequence];
  const std::int32_t end = call.batch.query_indptr[item.sequence + 1];
  const std::int32_t context = call.batch.context(item.sequence, call.cache.shape().block_size);
  const std::int32_t most = std::max(1, kRowsPerChunk / call.group);
  for (std::int32_t token = first; token < end; token += most) {
    const std::int32_t tokens = std::min(most, end - token);
    const std::int32_t seen = context - (end - token - tokens);
    if (seen <= item.partition * kPartitionTokens) {
      continue;
    }
    const std::int32_t* table = call.batch.kv_indices.data() + call.batch.kv_indptr[item.sequence];
    locate_partition(call.cache, call.layer, table, item.partition, seen, worker.addresses);
    const std::int32_t heads = tokens == 1 ? kv_heads : 1;
    for (std::int32_t head = 0; head < kv_heads; head += heads) {
      add_rows(call, item, {token, tokens, seen, head, heads}, worker);
    }
  }
}

void AttentionWeights::add_rows(const Call& call, const Item& item, const Rows& rows, Worker& worker) const {
  const KvShape& shape = call.cache.shape();
  const std::int32_t count = rows.tokens * call.group;
  for (std::int32_t head = 0; head < rows.heads; ++head) {
    for (std::int32_t row = 0; row < count; ++row) {
      const std::int32_t token = rows.first_token + row / call.group;
      const std::int32_t query_head = (rows.first_head + head) * call.group + row % call.group;
      const auto from = static_cast<std::size_t>(token) * static_cast<std::size_t>(heads_) +
                        static_cast<std::size_t>(query_head);
      const std::int32_t place = head * count + row;
      const auto to = static_cast<std::size_t>(place);
      worker.q_rows[static_cast<std::size_t>(row)] =
          call.qkv.row(token) + std::ptrdiff_t{query_head} * shape.head_size;
      worker.max[to] = max_[from];
      worker.sum[to] = sum_[from];
    }
    pack_queries(worker.q_rows.data(), count, shape.head_size, call.factor,
                 worker.q.data() + std::ptrdiff_t{head} * count * shape.head_size);
  }
  for (std::int32_t row = 0; row < count; ++row) {
    const std::int32_t seen = rows.context - (rows.tokens - 1 - row / call.group);
    worker.limits[static_cast<std::size_t>(row)] =
        std::min(seen - item.partition * kPartitionTokens, kPartitionTokens);
  }
  const PartitionTask task{.dtype = shape.dtype,
                           .head_size = shape.head_size,
                           .first_head = rows.first_head,
                           .kv_heads = rows.heads,
                           .rows = count,
                           .tile_width = call.cache.tile_width(),
                           .head_stride = call.cache.head_stride(),
                           .limits = worker.limits.data(),
                           .q = worker.q.data(),
                           .addresses = &worker.addresses,
                           .next = nullptr,
                           .scores = worker.scores.data(),
                           .staging = worker.staging.data()};
  add_partition_weights(task, worker.max.data(), worker.sum.data(), item.weights);
}

}  // namespace pagelab::kernels::cpu
