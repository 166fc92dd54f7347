#include "models/page_table.h"

namespace pagelab {

void PageTable::build(const StepBatch& batch, std::int32_t block_size) {
  query_indptr_.assign(1, 0);
  kv_indptr_.assign(1, 0);
  for (auto* array : {&kv_indices_, &last_block_len_, &positions_, &slot_mapping_, &weighed_}) {
    array->clear();
  }
  for (const Chunk& chunk : batch.chunks) {
    add(chunk, block_size);
  }
  for (const WeighedChunk& weighed : batch.weighed) {
    weighed_.push_back(weighed.chunk);
  }
}

void PageTable::add(const Chunk& chunk, std::int32_t block_size) {
  const std::int32_t context = chunk.context();
  for (std::int32_t i = 0; i < chunk.count; ++i) {
    const std::int32_t slot = chunk.slot(i);
    const BlockId block = chunk.blocks[static_cast<std::size_t>(slot / block_size)];
    positions_.push_back(chunk.first + i);
    slot_mapping_.push_back(block.value() * block_size + slot % block_size);
  }
  const auto used = static_cast<std::size_t>((context + block_size - 1) / block_size);
  for (const BlockId block : chunk.blocks.first(used)) {
    kv_indices_.push_back(block.value());
  }
  last_block_len_.push_back((context - 1) % block_size + 1);
  query_indptr_.push_back(static_cast<std::int32_t>(positions_.size()));
  kv_indptr_.push_back(static_cast<std::int32_t>(kv_indices_.size()));
}

}  // namespace pagelab
