// BlockPool: the physical blocks of one tier (device or host): who may write where is decided by its counts.
//
// Owns a reference count, a fill count and a free-list link per block, in one flat array. It does not know
// sequences, and it holds no data: the device owns the memory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/ids.h"

namespace pagelab {

class BlockPool {
 public:
  /// All blocks free. Requires capacity >= 0, block_size >= 1.
  BlockPool(Blocks capacity, Tokens block_size);

  Blocks capacity() const { return Blocks(static_cast<std::int64_t>(blocks_.size())); }
  Blocks free() const { return free_; }
  Blocks allocated() const { return capacity() - free_; }
  /// Slots that hold valid KV, counted once however often their block is shared.
  Tokens filled() const { return filled_; }
  /// References of all blocks: the entries of all block tables over this pool, shared blocks counted for
  /// each.
  Blocks references() const { return referenced_; }
  /// Blocks taken so far, given back or not.
  Blocks taken() const { return taken_; }

  /// A free block, now with one reference and no valid slot. Requires free() > 0.
  BlockId allocate() {
    PAGELAB_INVARIANT(head_ >= 0, "allocation from an empty pool");
    const BlockId block(head_);
    take(block);
    return block;
  }
  bool is_free(BlockId block) const { return blocks_[block.index()].references == 0; }
  /// The same for one free block of the caller's choice. Requires is_free(block).
  void take(BlockId block) {
    Block& taken = blocks_[block.index()];
    PAGELAB_INVARIANT(taken.references == 0, describe(block));
    (taken.previous_free < 0 ? head_ : link(taken.previous_free).next_free) = taken.next_free;
    if (taken.next_free >= 0) {
      link(taken.next_free).previous_free = taken.previous_free;
    }
    taken.references = 1;
    ++referenced_;
    ++taken_;
    free_ -= Blocks(1);
  }
  /// One more owner. Requires an allocated block.
  void retain(BlockId block);
  /// One owner less; the block is free again when it was the last.
  void release(BlockId block);

  std::int32_t references(BlockId block) const { return blocks_[block.index()].references; }
  bool shared(BlockId block) const { return blocks_[block.index()].references > 1; }
  /// Valid slots of a block, filled from its start unless its owner dropped some.
  Tokens fill(BlockId block) const { return Tokens(blocks_[block.index()].fill); }
  /// Makes the first `slots` slots valid. Requires an allocated block and fill(block) <= slots <= block_size.
  void set_fill(BlockId block, Tokens slots) {
    Block& filled = blocks_[block.index()];
    PAGELAB_INVARIANT(filled.references > 0 && slots.value() >= filled.fill && slots <= block_size_,
                      describe(block));
    filled_ += slots - Tokens(filled.fill);
    filled.fill = static_cast<std::int32_t>(slots.value());
  }

  /// Leaves only `slots` slots valid; which ones is the owner's affair. Requires slots <= fill(block).
  void lower_fill(BlockId block, Tokens slots) {
    Block& filled = blocks_[block.index()];
    PAGELAB_INVARIANT(slots.value() >= 0 && slots.value() <= filled.fill, describe(block));
    filled_ -= Tokens(filled.fill) - slots;
    filled.fill = static_cast<std::int32_t>(slots.value());
  }

  /// Aborts unless free list, counts and fills agree.
  void check_integrity() const;

 private:
  struct Block {
    std::int32_t references = 0;
    std::int32_t fill = 0;
    std::int32_t next_free = -1;  ///< intrusive list through the free blocks, -1 ends it
    std::int32_t previous_free = -1;
  };

  Block& link(std::int32_t block) { return blocks_[static_cast<std::size_t>(block)]; }
  std::string describe(BlockId block) const;

  std::vector<Block> blocks_;
  std::int32_t head_ = -1;
  Tokens block_size_;
  Blocks free_;
  Tokens filled_;
  Blocks referenced_;
  Blocks taken_;
};

}  // namespace pagelab
