#include "core/block_pool.h"

#include <fmt/format.h>

namespace pagelab {

BlockPool::BlockPool(Blocks capacity, Tokens block_size)
    : blocks_(static_cast<std::size_t>(capacity.value())),
      head_(blocks_.empty() ? -1 : 0),
      block_size_(block_size),
      free_(capacity) {
  for (std::size_t i = 1; i < blocks_.size(); ++i) {
    blocks_[i - 1].next_free = static_cast<std::int32_t>(i);
    blocks_[i].previous_free = static_cast<std::int32_t>(i) - 1;
  }
}

std::string BlockPool::describe(BlockId block) const {
  return fmt::format("block {}: {} owners, {} slots filled", block.value(), blocks_[block.index()].references,
                     blocks_[block.index()].fill);
}

void BlockPool::retain(BlockId block) {
  PAGELAB_INVARIANT(blocks_[block.index()].references > 0, fmt::format("block {} is free", block.value()));
  ++blocks_[block.index()].references;
  ++referenced_;
}

void BlockPool::release(BlockId block) {
  Block& left = blocks_[block.index()];
  PAGELAB_INVARIANT(left.references > 0, fmt::format("block {} is freed twice", block.value()));
  referenced_ -= Blocks(1);
  if (--left.references == 0) {
    filled_ -= Tokens(left.fill);
    left.fill = 0;
    left.next_free = head_;
    left.previous_free = -1;
    if (head_ >= 0) {
      link(head_).previous_free = block.value();
    }
    head_ = block.value();
    ++free_;
  }
}

void BlockPool::check_integrity() const {
  std::vector<bool> listed(blocks_.size(), false);
  std::int64_t on_list = 0;
  for (std::int32_t block = head_; block >= 0; block = blocks_[static_cast<std::size_t>(block)].next_free) {
    const auto index = static_cast<std::size_t>(block);
    PAGELAB_INVARIANT(!listed[index], fmt::format("block {} is on the free list twice", block));
    PAGELAB_INVARIANT(blocks_[index].references == 0, fmt::format("free block {} has owners", block));
    const std::int32_t next = blocks_[index].next_free;
    PAGELAB_INVARIANT(next < 0 || blocks_[static_cast<std::size_t>(next)].previous_free == block,
                      fmt::format("the free list is broken behind block {}", block));
    listed[index] = true;
    ++on_list;
  }
  PAGELAB_INVARIANT(on_list == free_.value(),
                    fmt::format("{} blocks listed, {} counted", on_list, free_.value()));
  std::int64_t filled = 0;
  std::int64_t referenced = 0;
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    PAGELAB_INVARIANT(listed[i] == (blocks_[i].references == 0), fmt::format("block {} is lost", i));
    PAGELAB_INVARIANT(blocks_[i].references > 0 || blocks_[i].fill == 0,
                      fmt::format("free block {} is filled", i));
    filled += blocks_[i].fill;
    referenced += blocks_[i].references;
  }
  PAGELAB_INVARIANT(filled == filled_.value(),
                    fmt::format("{} slots filled, {} counted", filled, filled_.value()));
  PAGELAB_INVARIANT(referenced == referenced_.value(),
                    fmt::format("{} references, {} counted", referenced, referenced_.value()));
}

}  // namespace pagelab
