// PrefixCache: the contents of full device blocks that later sequences may share: which block holds which,
// what may be evicted, and what happened to it so far. It owns the entries (dense numbers of contents) and
// drives the eviction policy; it finds contents through the sharing policy's index. Blocks and their
// reference counts are the KV manager's: the cache holds one reference on each block that it lists, and is
// told when sequences come and go.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "core/eviction.h"
#include "core/ids.h"
#include "core/prefix_index.h"

namespace pagelab {

class PrefixCache {
 public:
  /// Borrows the eviction policy, which must outlive it, and starts it.
  PrefixCache(std::unique_ptr<PrefixIndex> index, EvictionPolicy& eviction, Blocks capacity);
  PrefixCache(const PrefixCache&) = delete;
  PrefixCache& operator=(const PrefixCache&) = delete;

  /// The longest run of cached contents that `tokens` begin with: the last of them, and how many.
  struct Match {
    CacheEntry tip = PrefixIndex::root;
    Blocks blocks;
  };
  Match match(std::span<const TokenId> tokens);
  /// The content of one block behind `parent`, if it is cached.
  std::optional<CacheEntry> find(CacheEntry parent, std::span<const TokenId> block);

  BlockId block(CacheEntry entry) const { return entries_[entry.index()].block; }
  /// The content that an entry stands behind, as of the last time that match() or find() came through there;
  /// PrefixIndex::root if it begins a prompt.
  CacheEntry parent(CacheEntry entry) const { return entries_[entry.index()].parent; }
  /// A hash of all tokens from the start of the prompt to the entry's end; of no token for the root.
  std::uint64_t chain_hash(CacheEntry entry) const {
    return entry == PrefixIndex::root ? 0 : entries_[entry.index()].chain;
  }
  /// Whether a block's content is cached.
  bool holds(BlockId block) const { return entry_of_[block.index()] != PrefixIndex::root; }
  /// Whether no sequence uses a cached entry.
  bool idle(CacheEntry entry) const { return !entries_[entry.index()].used; }

  /// Cached blocks, and those of them that no sequence uses: all of these can be had by evicting.
  Blocks cached() const { return cached_; }
  Blocks idle() const { return idle_; }

  /// A sequence's block is full: from now on its content, `tokens` behind `parent`, is cached in it. It is
  /// not cached yet, and `parent` is in use. Returns its entry, in use.
  CacheEntry insert(CacheEntry parent, std::span<const TokenId> tokens, BlockId block);
  /// The contents from the start of a prompt to `tip` serve one more sequence.
  void use_all(CacheEntry tip);
  /// One content serves one more sequence; what it stands behind does already.
  void use(CacheEntry entry);
  /// Sequences let go of these blocks, in the order of a block table: those whose content is cached and has
  /// no other user are idle from now on.
  template <class StillUsed>
  void let_go(std::span<const BlockId> table, StillUsed&& still_used) {
    const auto count = static_cast<std::ptrdiff_t>(table.size());
    for (std::ptrdiff_t i = 0; i < count; ++i) {
      const BlockId block = table[static_cast<std::size_t>(leaves_first_ ? count - 1 - i : i)];
      if (holds(block) && !still_used(block)) {
        rest(entry_of_[block.index()]);
      }
    }
  }
  /// Drops the content that the eviction policy chooses and returns its block. Requires idle() > 0. Throws
  /// PolicyError if the policy chooses one that is not cached or in use.
  BlockId evict();

  /// Evicted so far, and contents cached again that had been evicted before.
  std::int64_t evictions() const { return evictions_; }
  std::int64_t evicted_then_needed() const { return evicted_then_needed_; }

  /// All blocks with cached content, in no order; for checks.
  std::vector<BlockId> blocks() const;
  /// Aborts unless entries, blocks, holds and the index agree.
  void check_integrity() const;

 private:
  struct Entry {
    CacheEntry parent = PrefixIndex::root;
    BlockId block{-1};        ///< -1: not cached
    std::uint64_t chain = 0;  ///< chain_hash()
    bool used = false;        ///< by a sequence
    bool remembered = false;  ///< evicted, and the eviction policy knows it still
  };

  void rest(CacheEntry entry);
  void hold(CacheEntry entry) { ++facts_[entry.index()].holds; }
  /// Whether it may be evicted now.
  bool drop_hold(CacheEntry entry) { return --facts_[entry.index()].holds == 0; }
  /// The entry for a content that is not cached: the one by which the eviction policy remembers it, or a free
  /// one.
  CacheEntry entry_for(std::uint64_t chain);
  void forget_ghosts();

  std::unique_ptr<PrefixIndex> index_;
  EvictionPolicy& eviction_;
  bool leaves_first_;
  bool remembers_;
  std::vector<Entry> entries_;
  std::vector<CacheView::Facts> facts_;
  CacheView view_;
  ForgottenEntries forgotten_;
  std::vector<CacheEntry> free_;
  std::vector<CacheEntry> entry_of_;                          ///< by block; root: not cached
  std::unordered_map<std::uint64_t, CacheEntry> remembered_;  ///< by chain hash
  std::unordered_set<std::uint64_t> evicted_;                 ///< chain hashes of what is not cached any more
  std::vector<CacheEntry> path_;
  Blocks cached_;
  Blocks idle_;
  std::int64_t evictions_ = 0;
  std::int64_t evicted_then_needed_ = 0;
};

}  // namespace pagelab
