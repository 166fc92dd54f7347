// What orders the accesses of a launch, and the memory of who accessed what, from which races follow exactly
// and whatever the schedule: two accesses of the same byte, one of them a write, by threads between which
// nothing orders them. (Happens-before with last-access records: FastTrack, Flanagan and Freund, PLDI 2009,
// section 3, with thread clocks made from CUDA's two barriers alone.)
//
// Exact where the masks of a warp's __syncwarps are nested or disjoint (as whole warps and tiles of them
// are). For masks that overlap otherwise the record of several readers can make a race of an ordered write;
// none is missed.
//
// Order: __syncthreads orders everything in a block; __syncwarp orders the lanes of its mask, and what they
// have seen of other lanes; blocks of one launch are unordered; launches are ordered. Shuffles, votes and
// tensor-core operations order nothing. Atomics do not race with atomics, and order nothing.
//
// Instead of clearing anything at a barrier, time is counted in epochs, a number that grows at every launch,
// block and barrier; a record of an older epoch has lost its meaning.
#pragma once

#include <array>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include "kernels/emu/check_sites.h"

namespace pagelab::emu {

/// The past accesses of one kind to one granule of memory that a new access may race with.
///   key: epoch (36 bits) | stamp (18 bits: __syncwarps of the warp since the block's last barrier) | thread
///   (10 bits)
/// Several threads of one warp are a mask of lanes. Of several warps only the first and one other need be
/// known, since nothing but a barrier of the block comes between them and a conflicting access; of several
/// blocks only the first.
struct Parties {
  static constexpr std::uint32_t kInFlight = 1u << 30;   ///< a cp.async that has not landed
  static constexpr std::uint32_t kManyWarps = 1u << 29;  ///< `lanes` holds another thread and its site

  std::uint64_t key = 0;
  std::uint32_t lanes = 0;
  std::uint32_t info = 0;  ///< site and flags

  std::uint64_t epoch() const { return key >> 28; }
  std::uint32_t stamp() const { return static_cast<std::uint32_t>(key >> 10) & 0x3ffff; }
  std::uint32_t thread() const { return static_cast<std::uint32_t>(key) & 1023; }
  SiteId site() const { return info & (kMaxSites - 1); }
  bool has(std::uint32_t flag) const { return (info & flag) != 0; }
};

/// The other side of a race.
struct Conflict {
  std::uint64_t epoch = 0;
  std::uint32_t thread = 0;
  SiteId site = 0;
  Access kind = Access::read;
  bool in_flight = false;
};

/// The time of the launch that runs.
class Order {
 public:
  void launch_begins(std::uint64_t threads_per_block);
  void block_begins();
  void block_synchronised();
  void warp_synchronised(std::uint32_t warp, std::uint32_t mask);
  /// Makes `thread` of the block the one that acts.
  void set_thread(std::uint32_t thread);

  std::uint64_t epoch() const { return epoch_; }
  std::uint64_t launch_begin() const { return launch_begin_; }
  std::uint64_t block_begin() const { return block_begin_; }

  /// Whether some of `parties`, who did `kind`, is not ordered before the acting thread; records from before
  /// `floor` do not count. `who` is filled in if so.
  bool conflicts(const Parties& parties, Access kind, std::uint64_t floor, Conflict& who) const {
    return parties.epoch() >= floor && unordered(parties, kind, who);
  }
  /// The acting thread alone.
  Parties self(std::uint32_t info) const { return {key_, 1u << (thread_ & 31), info}; }
  /// Adds the acting thread.
  void add(Parties& parties, std::uint64_t floor, std::uint32_t info) const;

 private:
  /// seen[j][i]: lane j comes after what lane i did at stamps below it.
  struct Warp {
    std::uint32_t stamp = 0;
    std::array<std::array<std::uint32_t, 32>, 32> seen{};
  };

  bool unordered(const Parties& parties, Access kind, Conflict& who) const;

  std::uint64_t epoch_ = 0;
  std::uint64_t launch_begin_ = 0;
  std::uint64_t block_begin_ = 0;
  std::vector<Warp> warps_;
  std::uint64_t key_ = 0;  ///< of the acting thread, now
  std::uint32_t thread_ = 0;
};

/// The accesses to one range of memory, in granules of 4 bytes, or less once something smaller was accessed.
class RaceShadow {
 public:
  explicit RaceShadow(std::size_t bytes);

  /// Checks an access of the acting thread against those before, then records it. True: it races with `who`.
  bool read(const Order& order, std::uint64_t floor, std::size_t offset, std::size_t bytes, SiteId site,
            Conflict& who);
  bool write(const Order& order, std::uint64_t floor, std::size_t offset, std::size_t bytes, SiteId site,
             Conflict& who);
  bool atomic(const Order& order, std::uint64_t floor, std::size_t offset, std::size_t bytes, SiteId site,
              Conflict& who);
  /// A write that goes on until landed().
  bool issue(const Order& order, std::uint64_t floor, std::size_t offset, std::size_t bytes, SiteId site,
             Conflict& who);
  void landed(const Order& order, std::size_t offset, std::size_t bytes);

  /// Whether granules are smaller than 4 bytes.
  bool refined() const { return shift_ < 2; }

 private:
  struct Cell {
    Parties write, read, atomic;
  };
  struct Free {
    void operator()(Cell* cells) const { std::free(cells); }
  };
  struct Range {
    Cell* begin;
    Cell* end;
  };
  using Cells = std::unique_ptr<Cell[], Free>;

  static Cells allocate(std::size_t count);
  Range range(std::size_t offset, std::size_t bytes) {
    while (((offset | bytes) & ((std::size_t{1} << shift_) - 1)) != 0) {
      refine();
    }
    return {cells_.get() + (offset >> shift_), cells_.get() + ((offset + bytes) >> shift_)};
  }
  void refine();
  std::size_t count() const { return (bytes_ + (std::size_t{1} << shift_) - 1) >> shift_; }
  bool overwrite(const Order& order, std::uint64_t floor, std::size_t offset, std::size_t bytes,
                 std::uint32_t info, Conflict& who);

  std::size_t bytes_;
  unsigned shift_ = 2;
  Cells cells_;
};

}  // namespace pagelab::emu
