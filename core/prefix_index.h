// PrefixIndex: finds cached contents by their tokens. A content is one full block of tokens behind another
// content (or behind nothing): the same tokens behind another prefix are another content. The index owns the
// tokens by which it recognises contents; that two have equal hashes never makes them one. It knows entries,
// not blocks: which block holds an entry's KV, and when it goes, is for PrefixCache (core/prefix_cache.h) to
// say. Sharing policies make it.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "core/eviction.h"

namespace pagelab {

class PrefixIndex {
 public:
  /// No content: what a prompt's first block stands behind.
  static constexpr CacheEntry root{-1};

  virtual ~PrefixIndex() = default;
  /// Whether a content goes only after all that continue it. If not, what continues an evicted content stays,
  /// and is found again once that content is back.
  virtual bool leaves_first() const = 0;
  /// Appends the entries of the longest run of cached contents that `tokens` begin with to `path`, whole
  /// blocks only.
  virtual void match(std::span<const TokenId> tokens, std::vector<CacheEntry>& path) const = 0;
  /// The content of these tokens, one block, behind `parent`, if it is cached.
  virtual std::optional<CacheEntry> find(CacheEntry parent, std::span<const TokenId> block) const = 0;
  /// `entry` stands from now on for these tokens, one block, behind `parent`, which is cached or root. They
  /// are not cached yet.
  virtual void insert(CacheEntry parent, std::span<const TokenId> block, CacheEntry entry) = 0;
  /// The entry's content is cached no more. If leaves_first(), nothing cached continues it.
  virtual void erase(CacheEntry entry) = 0;
  /// Aborts unless its parts agree.
  virtual void check_integrity() const = 0;
};

/// A hash of a block's tokens behind a prefix whose hash is `seed`. Equal tokens, equal hashes; not the other
/// way round.
std::uint64_t hash_tokens(std::uint64_t seed, std::span<const TokenId> tokens);

}  // namespace pagelab
