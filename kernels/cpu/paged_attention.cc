#include "kernels/cpu/paged_attention.h"

#include <algorithm>
#include <numbers>
#include <vector>

#include "kernels/cpu/paged_attention_kernels.h"

namespace pagelab::kernels::cpu {
namespace {

/// Query rows of one kv head that share the K and V of a partition.
constexpr std::int32_t kRowsPerChunk = 48;
constexpr std::int32_t kItemsPerThread = 4;

/// Neighbouring tokens of one sequence, worked on together.
struct Chunk {
  std::int32_t sequence;
  std::int32_t first_token;  ///< in the batch
  std::int32_t tokens;
  std::int32_t partitions;  ///< that the last token sees
  std::int64_t
      partial_state;  ///< first of its states in the partials; -1: partitions are not split over items
};

/// What one thread does at a time: some kv heads of a chunk over some partitions.
struct Item {
  std::int32_t chunk;
  std::int32_t first_head;
  std::int32_t heads;
  std::int32_t first_partition;
  std::int32_t partitions;
};

/// States of rows in memory that the owner keeps.
struct StateArray {
  std::vector<float> max;
  std::vector<float> sum;
  std::vector<float> acc;

  void reserve(std::size_t rows, std::size_t head_size) {
    if (max.size() < rows) {
      max.resize(rows);
      sum.resize(rows);
    }
    if (acc.size() < rows * head_size) {
      acc.resize(rows * head_size);
    }
  }
  RowStates from(std::int64_t row, std::int32_t head_size) {
    return {max.data() + row, sum.data() + row, acc.data() + row * head_size};
  }
};

struct Worker {
  StateArray running;  ///< over the partitions done
  StateArray next;     ///< of the partition at hand
  std::vector<float> q;
  std::vector<float> scores;
  std::vector<std::byte> staging;
  std::vector<std::int32_t> limits;
  std::vector<const float*> q_rows;
  PartitionAddresses addresses[2];  ///< of even and odd partitions

  void reserve(std::size_t states, std::size_t rows, std::size_t head_size) {
    running.reserve(states, head_size);
    next.reserve(states, head_size);
    if (q.size() < states * head_size) {
      q.resize(states * head_size);
    }
    if (scores.size() < states * kScoreStride) {
      scores.resize(states * kScoreStride);
    }
    if (staging.size() < staging_bytes(static_cast<std::int32_t>(head_size))) {
      staging.resize(staging_bytes(static_cast<std::int32_t>(head_size)));
    }
    if (limits.size() < rows) {
      limits.resize(rows);
      q_rows.resize(rows);
    }
  }
};

}  // namespace

/// The scratch memory, and the arguments of the call at hand.
struct PagedAttention::State {
  explicit State(ThreadPool& threads) : pool(threads), workers(static_cast<std::size_t>(threads.threads())) {}

  void plan();
  void plan_chunk(std::int32_t index, double target);
  void reserve();
  void run_item(const Item& item, Worker& worker);
  void attend(const Item& item, std::int32_t partition, Worker& worker, const RowStates& states);
  void merge_partials(const Chunk& chunk, std::int32_t kv_head, Worker& worker);
  void locate(const Chunk& chunk, std::int32_t partition, PartitionAddresses& addresses) const;
  std::int32_t rows_of(const Chunk& chunk) const { return chunk.tokens * group; }
  std::int32_t position(std::int32_t token) const {
    return batch->positions[static_cast<std::size_t>(token)];
  }
  float* out_row(const Chunk& chunk, std::int32_t kv_head, std::int32_t row) const {
    return out.row(chunk.first_token + row / group) +
           std::ptrdiff_t{kv_head * group + row % group} * cache->shape().head_size;
  }

  ThreadPool& pool;
  std::vector<Worker> workers;
  std::vector<Chunk> chunks;
  std::vector<std::int32_t> split_chunks;
  std::vector<Item> items;
  StateArray partials;  ///< of split chunks: [partition][kv head][row]
  std::int64_t partial_count = 0;

  const KvCache* cache = nullptr;
  const AttentionBatch* batch = nullptr;
  std::int32_t layer = 0;
  std::int32_t group = 0;  ///< query heads per kv head
  float factor = 0;
  Tensor qkv;
  Tensor out;
};

PagedAttention::PagedAttention(ThreadPool& pool) : state_(std::make_unique<State>(pool)) {}
PagedAttention::~PagedAttention() = default;

void PagedAttention::run(const KvCache& cache, std::int32_t layer, Tensor qkv, std::int32_t heads,
                         float scale, const AttentionBatch& batch, Tensor out) {
  State& state = *state_;
  state.cache = &cache;
  state.batch = &batch;
  state.layer = layer;
  state.group = heads / cache.shape().kv_heads;
  state.factor = scale * std::numbers::log2e_v<float>;
  state.qkv = qkv;
  state.out = out;
  state.plan();
  state.reserve();
  state.pool.for_each(static_cast<std::int64_t>(state.items.size()), [&](std::int64_t item, int worker) {
    state.run_item(state.items[static_cast<std::size_t>(item)],
                   state.workers[static_cast<std::size_t>(worker)]);
  });
  const std::int32_t kv_heads = cache.shape().kv_heads;
  state.pool.for_each(
      static_cast<std::int64_t>(state.split_chunks.size()) * kv_heads, [&](std::int64_t item, int worker) {
        const std::int32_t chunk = state.split_chunks[static_cast<std::size_t>(item / kv_heads)];
        state.merge_partials(state.chunks[static_cast<std::size_t>(chunk)],
                             static_cast<std::int32_t>(item % kv_heads),
                             state.workers[static_cast<std::size_t>(worker)]);
      });
}

namespace {

/// Roughly the time of a partition of one kv head: reading it, and the multiplications of its rows.
double partition_cost(std::int32_t rows) {
  return 1.0 + rows / 8.0;
}

}  // namespace

void PagedAttention::State::plan() {
  chunks.clear();
  items.clear();
  split_chunks.clear();
  partial_count = 0;
  const std::int32_t tokens_per_chunk = std::max(1, kRowsPerChunk / group);
  const std::int32_t kv_heads = cache->shape().kv_heads;
  double cost = 0;
  for (std::size_t sequence = 0; sequence + 1 < batch->query_indptr.size(); ++sequence) {
    const std::int32_t end = batch->query_indptr[sequence + 1];
    for (std::int32_t token = batch->query_indptr[sequence]; token < end; token += tokens_per_chunk) {
      const std::int32_t tokens = std::min(tokens_per_chunk, end - token);
      const std::int32_t partitions = position(token + tokens - 1) / kPartitionTokens + 1;
      chunks.push_back({static_cast<std::int32_t>(sequence), token, tokens, partitions, -1});
      cost += kv_heads * partitions * partition_cost(tokens * group);
    }
  }
  const double target = pool.threads() == 1 ? cost : cost / (kItemsPerThread * pool.threads());
  for (std::size_t chunk = 0; chunk < chunks.size(); ++chunk) {
    plan_chunk(static_cast<std::int32_t>(chunk), target);
  }
}

void PagedAttention::State::plan_chunk(std::int32_t index, double target) {
  Chunk& chunk = chunks[static_cast<std::size_t>(index)];
  const std::int32_t kv_heads = cache->shape().kv_heads;
  const double head_cost = partition_cost(rows_of(chunk));
  // A decode reads all heads in one go, so that it reads long runs; a chunk of many rows would then need
  // scratch memory beyond the L2 cache.
  std::int32_t heads = chunk.tokens == 1 ? kv_heads : 1;
  std::int32_t partitions = chunk.partitions;
  if (partitions > 1 && head_cost * heads * partitions > target) {
    chunk.partial_state = partial_count;
    partial_count += std::int64_t{chunk.partitions} * kv_heads * rows_of(chunk);
    split_chunks.push_back(index);
    partitions = 1;
  }
  if (head_cost * heads * partitions > target) {
    heads = std::clamp(static_cast<std::int32_t>(target / (head_cost * partitions)), 1, heads);
  }
  for (std::int32_t partition = 0; partition < chunk.partitions; partition += partitions) {
    for (std::int32_t head = 0; head < kv_heads; head += heads) {
      items.push_back({index, head, std::min(heads, kv_heads - head), partition, partitions});
    }
  }
}

void PagedAttention::State::reserve() {
  std::int32_t states = 0;
  std::int32_t rows = 0;
  for (const Item& item : items) {
    const std::int32_t chunk_rows = rows_of(chunks[static_cast<std::size_t>(item.chunk)]);
    states = std::max(states, item.heads * chunk_rows);
    rows = std::max(rows, chunk_rows);
  }
  const auto head_size = static_cast<std::size_t>(cache->shape().head_size);
  for (Worker& worker : workers) {
    worker.reserve(static_cast<std::size_t>(states), static_cast<std::size_t>(rows), head_size);
  }
  partials.reserve(static_cast<std::size_t>(partial_count), head_size);
}

void PagedAttention::State::run_item(const Item& item, Worker& worker) {
  const Chunk& chunk = chunks[static_cast<std::size_t>(item.chunk)];
  const std::int32_t head_size = cache->shape().head_size;
  const std::int32_t rows = rows_of(chunk);
  for (std::int32_t head = 0; head < item.heads; ++head) {
    for (std::int32_t row = 0; row < rows; ++row) {
      worker.q_rows[static_cast<std::size_t>(row)] =
          qkv.row(chunk.first_token + row / group) +
          std::ptrdiff_t{(item.first_head + head) * group + row % group} * head_size;
    }
    pack_queries(worker.q_rows.data(), rows, head_size, factor,
                 worker.q.data() + std::ptrdiff_t{head} * rows * head_size);
  }
  if (chunk.partial_state >= 0) {
    const std::int64_t state =
        chunk.partial_state +
        (std::int64_t{item.first_partition} * cache->shape().kv_heads + item.first_head) * rows;
    attend(item, item.first_partition, worker, partials.from(state, head_size));
    return;
  }
  const RowStates running = worker.running.from(0, head_size);
  attend(item, 0, worker, running);
  for (std::int32_t partition = 1; partition < item.partitions; ++partition) {
    const RowStates next = worker.next.from(0, head_size);
    attend(item, partition, worker, next);
    for (std::int32_t state = 0; state < item.heads * rows; ++state) {
      if (worker.limits[static_cast<std::size_t>(state % rows)] > 0) {
        merge_state(running.max[state], running.sum[state], running.acc + std::ptrdiff_t{state} * head_size,
                    next.max[state], next.sum[state], next.acc + std::ptrdiff_t{state} * head_size,
                    head_size);
      }
    }
  }
  for (std::int32_t state = 0; state < item.heads * rows; ++state) {
    finish_row(running.acc + std::ptrdiff_t{state} * head_size, running.sum[state],
               out_row(chunk, item.first_head + state / rows, state % rows), head_size);
  }
}

void PagedAttention::State::attend(const Item& item, std::int32_t partition, Worker& worker,
                                   const RowStates& states) {
  const Chunk& chunk = chunks[static_cast<std::size_t>(item.chunk)];
  const KvShape& shape = cache->shape();
  const std::int32_t rows = rows_of(chunk);
  for (std::int32_t row = 0; row < rows; ++row) {
    const std::int32_t context = position(chunk.first_token + row / group) + 1;
    worker.limits[static_cast<std::size_t>(row)] =
        std::min(context - partition * kPartitionTokens, kPartitionTokens);
  }
  PartitionTask task;
  task.dtype = shape.dtype;
  task.head_size = shape.head_size;
  task.kv_heads = item.heads;
  task.rows = rows;
  task.tile_width = cache->tile_width();
  task.head_stride = cache->head_stride();
  task.first_head = item.first_head;
  task.limits = worker.limits.data();
  task.q = worker.q.data();
  task.addresses = &worker.addresses[partition % 2];
  task.next = nullptr;
  if (partition == item.first_partition) {
    locate(chunk, partition, worker.addresses[partition % 2]);
  }
  if (partition + 1 < item.first_partition + item.partitions) {
    locate(chunk, partition + 1, worker.addresses[(partition + 1) % 2]);
    task.next = &worker.addresses[(partition + 1) % 2];
  }
  task.scores = worker.scores.data();
  task.staging = worker.staging.data();
  attend_partition(task, states);
}

void PagedAttention::State::locate(const Chunk& chunk, std::int32_t partition,
                                   PartitionAddresses& addresses) const {
  const std::int32_t block_size = cache->shape().block_size;
  const auto element = static_cast<std::ptrdiff_t>(size_of(cache->shape().dtype));
  const std::int32_t begin = partition * kPartitionTokens;
  const std::int32_t end =
      std::min(begin + kPartitionTokens, position(chunk.first_token + chunk.tokens - 1) + 1);
  const std::int32_t* table =
      batch->kv_indices.data() + batch->kv_indptr[static_cast<std::size_t>(chunk.sequence)];
  if (cache->mapped()) {
    const std::byte* keys = cache->sequence_keys(layer, *table);
    const std::byte* values = cache->sequence_values(layer, *table);
    for (std::int32_t token = begin; token < end; ++token) {
      addresses.keys[token - begin] = keys + cache->key_offset(0, token) * element;
      addresses.values[token - begin] = values + cache->value_offset(0, token) * element;
    }
    return;
  }
  for (std::int32_t token = begin; token < end;) {
    const std::int32_t block = table[token / block_size];
    const auto* keys = cache->keys(layer, block);
    const auto* values = cache->values(layer, block);
    const std::int32_t block_end = std::min(end, (token / block_size + 1) * block_size);
    for (; token < block_end; ++token) {
      addresses.keys[token - begin] = keys + cache->key_offset(0, token % block_size) * element;
      addresses.values[token - begin] = values + cache->value_offset(0, token % block_size) * element;
    }
  }
}

void PagedAttention::State::merge_partials(const Chunk& chunk, std::int32_t kv_head, Worker& worker) {
  const std::int32_t head_size = cache->shape().head_size;
  const std::int32_t rows = rows_of(chunk);
  const RowStates merged = worker.running.from(0, head_size);
  for (std::int32_t row = 0; row < rows; ++row) {
    const std::int32_t partitions = position(chunk.first_token + row / group) / kPartitionTokens + 1;
    for (std::int32_t partition = 0; partition < partitions; ++partition) {
      const std::int64_t state =
          chunk.partial_state + (std::int64_t{partition} * cache->shape().kv_heads + kv_head) * rows + row;
      const RowStates next = partials.from(state, head_size);
      if (partition == 0) {
        *merged.max = *next.max;
        *merged.sum = *next.sum;
        std::copy_n(next.acc, head_size, merged.acc);
      } else {
        merge_state(*merged.max, *merged.sum, merged.acc, *next.max, *next.sum, next.acc, head_size);
      }
    }
    finish_row(merged.acc, *merged.sum, out_row(chunk, kv_head, row), head_size);
  }
}

}  // namespace pagelab::kernels::cpu
