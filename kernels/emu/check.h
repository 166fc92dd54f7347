// Checker: watches the launches of the SIMT machine and ends the one that does what CUDA forbids with a
// KernelError that names the source line, block and thread, and the other party's:
//
//   illegal_address  an access outside of live allocations and of the block's shared memory (also in the gap
//   between
//                    an allocation's end and its guard page), to freed memory, or not aligned to its size
//   uninitialised    a read of a byte of device or shared memory that nothing has written. Host copies,
//   memsets and
//                    kernels write; a copy carries over what its source is; pinned memory counts as written
//   race             two accesses of the same bytes, one of them a write, with nothing between that orders
//   their
//                    threads (check_races.h), whatever the schedule; also with a cp.async, which writes from
//                    its issue to the issuing thread's wait
//
// It also counts sectors and bank wavefronts per source line (check_counters.h). Divergent barriers,
// mismatched collectives and hangs are found by the machine itself (simt.h).
//
// Accesses come from the hooks of clang's -fsanitize=thread (tsan_hooks.cc), from primitives and from the PTX
// machine; the checker does not care which. It owns shadow memory for every live allocation and for the
// shared memory of the block; allocations made before the checker count as written. It does not stop the
// access: whoever reports one does, by not going on.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "kernels/emu/check_counters.h"
#include "kernels/emu/check_races.h"
#include "kernels/emu/check_sites.h"
#include "kernels/emu/check_written.h"
#include "kernels/emu/memory.h"
#include "kernels/emu/simt.h"

namespace pagelab::emu {

class Checker final : public Observer, private MemoryListener {
 public:
  /// Watches all launches while it lives. Throws std::logic_error if something else does.
  Checker();
  /// Prints the counters to stderr if the environment has PAGELAB_EMU_REPORT=1.
  ~Checker() override;
  Checker(const Checker&) = delete;
  Checker& operator=(const Checker&) = delete;

  void launch_begins(const LaunchShape& shape) override;
  void launch_ends() override;
  void block_begins() override;
  void access(Access kind, const void* address, std::size_t bytes, std::uintptr_t pc, Site site) override;
  void async_issued(void* target, std::size_t bytes, const void* source, std::size_t source_bytes,
                    std::uintptr_t pc, Site site) override;
  void async_landed(void* target, std::size_t bytes) override;
  void block_synchronised() override;
  void warp_synchronised(std::uint32_t mask) override;

  /// Of all launches since the checker began or reset_counters(), by file, line and kind of access.
  std::vector<LineCount> counters();
  void reset_counters();

 private:
  enum class Space : std::uint8_t { shared, device, pinned };

  /// The shadow of the block's shared memory or of an allocation.
  struct Region {
    Space space;
    std::byte* begin;
    std::size_t bytes;
    WrittenBytes written;
    std::optional<RaceShadow> races;  ///< from the first access of a kernel on

    Region(Space of, std::byte* at, std::size_t size, bool initialised)
        : space(of), begin(at), bytes(size), written(size, initialised) {}
    std::size_t offset(const void* address) const {
      return static_cast<std::size_t>(static_cast<const std::byte*>(address) - begin);
    }
  };

  /// An access as reports tell of it.
  struct Doing {
    const char* verb;  ///< "reads"
    const void* address;
    std::size_t bytes;
    SiteId site;
  };

  void allocated(const Allocation& allocation) override;
  void released(const Allocation& allocation) override;
  void written(const void* begin, std::size_t bytes) override;
  void copied(void* target, const void* source, std::size_t bytes) override;

  Region* allocation_at(const void* address);
  /// The region that an address is in, or null.
  Region* region_at(const void* address) {
    return shared_->offset(address) < shared_->bytes ? shared_.get() : allocation_at(address);
  }
  /// Throws the report if `region` does not hold all of an aligned access that begins in it.
  void check_bounds(const Region* region, const Doing& doing);
  /// Whether an instruction belongs to the C++ library. Kernels use none of it, but the linker may have given
  /// the emulator's own code, which runs on the threads' stacks, an instrumented copy of an inline function.
  bool is_library(SiteId site);
  RaceShadow& races_of(Region& region);
  std::uint64_t floor_of(const Region& region) const {
    return region.space == Space::shared ? order_.block_begin() : order_.launch_begin();
  }
  void check_written(const Region& region, const Doing& doing);
  void count(const Thread& thread, const Region& region, Access kind, const Doing& doing);

  [[noreturn]] void report(KernelError::Kind kind, const Doing& doing, const std::string& rest);
  [[noreturn]] void report_nowhere(const Doing& doing);
  [[noreturn]] void report_race(const Region& region, const Doing& doing, const Conflict& who);
  static std::string name_of(const Region& region);
  std::string name_of_thread(std::uint32_t linear) const;

  SiteTable sites_;
  Order order_;
  AccessCounters counters_;
  LaunchShape shape_;
  std::unique_ptr<Region> shared_;
  std::unordered_map<std::uint64_t, std::unique_ptr<Region>> allocations_;  ///< by id
  Region* last_ = nullptr;                                                  ///< the allocation last accessed
  std::array<Allocation, 64> freed_{};                                      ///< the latest, a ring
  std::size_t freed_count_ = 0;
  struct Block {
    std::uint64_t epoch;
    Extent index;
  };
  std::vector<Block> blocks_;  ///< of the launch so far
};

}  // namespace pagelab::emu
