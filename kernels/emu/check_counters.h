// How well the warps of a launch use memory, per source line: the 32-byte sectors of global memory that a
// warp's request touches and the passes ("wavefronts") that it takes through the 32 banks of shared memory,
// beside the least that could serve the same bytes.
//
// A request is what the lanes of a warp do at one instruction at once. Lanes run one after the other here, so
// the n-th access of each lane at an instruction, counted from the last barrier of the block or __syncwarp of
// the whole warp, makes up the n-th request; where lanes skip an iteration of a loop this groups others
// together than the hardware would. Of the requests of one instruction and warp between two barriers the
// first 1,024 count.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/emu/check_sites.h"
#include "kernels/emu/simt.h"

namespace pagelab::emu {

/// The requests of one source line that read, wrote or updated memory. Sectors count global memory (device
/// and pinned), wavefronts shared memory.
struct LineCount {
  std::string file;
  int line = 0;
  Access kind = Access::read;
  std::uint64_t requests = 0;
  std::uint64_t lanes = 0;  ///< that took part, over all requests
  std::uint64_t sectors = 0;
  std::uint64_t ideal_sectors = 0;
  std::uint64_t wavefronts = 0;
  std::uint64_t ideal_wavefronts = 0;
};

class AccessCounters {
 public:
  /// Forgets requests that are not complete.
  void launch_begins(std::uint64_t threads_per_block);
  /// `bytes` is 1, 2, 4, 8 or 16, `address` a multiple of it.
  void record(const Thread& thread, SiteId site, Access kind, bool shared, std::uintptr_t address,
              std::size_t bytes);
  /// The lanes of a warp, or of all warps, are at the same place.
  void converged(std::uint32_t warp);
  void converged();
  void reset();

  /// By file, line and kind.
  std::vector<LineCount> lines(SiteTable& sites) const;

 private:
  struct Row {
    std::uint32_t active = 0;
    std::array<std::uintptr_t, 32> address;
  };
  /// What a warp did at one instruction since it converged.
  struct Trace {
    std::array<std::uint32_t, 32> next{};  ///< per lane: its next row
    std::uint32_t used = 0;
    std::uint32_t bytes = 0;
    std::vector<Row> rows;
  };
  struct Warp {
    std::vector<std::unique_ptr<Trace>> traces;  ///< by index_of()
    std::vector<std::uint32_t> busy;             ///< those with rows
  };
  struct Count {
    std::uint64_t requests = 0, lanes = 0, cost = 0, ideal = 0;  ///< in sectors or wavefronts
  };

  static std::uint32_t index_of(SiteId site, Access kind, bool shared) {
    return site * 6 + static_cast<std::uint32_t>(kind) * 2 + (shared ? 1 : 0);
  }
  static void count_sectors(const Row& row, std::size_t bytes, Count& count);
  static void count_wavefronts(const Row& row, std::size_t bytes, Count& count);

  std::vector<Warp> warps_;
  std::vector<Count> counts_;  ///< by index_of()
};

/// A table of lines for people, the worst first.
std::string format_counters(const std::vector<LineCount>& lines);

}  // namespace pagelab::emu
