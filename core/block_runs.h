// BlockRuns: an allocator of runs of adjacent blocks, for allocation policies that cannot page. It keeps its
// own account of which blocks lie in a run and owns nothing else; the KV manager owns it, asks it where the
// next run lies, and checks that the blocks it names are free.
#pragma once

#include <optional>

#include "core/ids.h"

namespace pagelab {

class BlockRuns {
 public:
  virtual ~BlockRuns() = default;
  /// The first block of a run of `blocks` adjacent ones, now taken; none if there is no room for it. A run
  /// may take up more blocks than were asked for: nobody else gets those. Requires blocks >= 1.
  virtual std::optional<BlockId> take(Blocks blocks) = 0;
  /// Gives back a run exactly as it was asked for. When all that was taken is given back, whatever fitted
  /// before fits again.
  virtual void give_back(BlockId first, Blocks blocks) = 0;
  /// Blocks that no run takes up.
  virtual Blocks free() const = 0;
};

}  // namespace pagelab
