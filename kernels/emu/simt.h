// The SIMT machine: runs the threads of a CUDA launch on the CPU, one fiber (Boost.Context) per CUDA thread,
// all on the calling OS thread. Blocks run one after the other; the threads of a block switch at barriers and
// warp collectives only, in thread order (schedule 0) or in an order drawn from the schedule's seed, the same
// for the same seed.
//
// This header is what the three ways into the machine share: the stand-in CUDA headers (include/), with which
// kernel sources are compiled as C++; the checks (check.h), which watch through Observer; and the PTX machine
// (ptx/), whose interpreter is the body of each thread. The machine owns the fibers' stacks and the shared
// memory of the block that runs. It knows no stream and no allocation (runtime.h, memory.h).
//
// Not modelled: lock-step timing of a warp, weak memory order, progress between blocks (a block that waits
// for another hangs; that is reported). One launch at a time, from one OS thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <stdexcept>
#include <string>
#include <type_traits>

namespace pagelab::emu {

struct Extent {
  std::uint32_t x = 1, y = 1, z = 1;
  std::uint64_t count() const { return std::uint64_t{x} * y * z; }
};

/// A place in the source of a kernel; `file` lives as long as the program.
struct Site {
  const char* file = "";
  int line = 0;
  bool operator==(const Site&) const = default;
};

/// A kernel did what CUDA forbids. `what()` is one report: kind, file:line, block, thread, and the other
/// party's file:line and thread where there is one. The launch is over; memory is as the kernel left it.
class KernelError : public std::runtime_error {
 public:
  enum class Kind : std::uint8_t {
    illegal_address,  ///< access outside live allocations and the block's shared memory, or misaligned
    race,             ///< two threads touch the same bytes, one writes, no barrier between
    uninitialised,    ///< a read of memory that nothing has written
    barrier,          ///< threads of a block at different barriers, or at one that others never come to
    collective,       ///< lanes of a mask in different collectives, a lane outside its mask, an exited lane
    hang,             ///< a loop on an atomic that no thread of the block ends
    unsupported       ///< an instruction or a feature that the machine does not have
  };
  KernelError(Kind kind, const std::string& report) : std::runtime_error(report), kind_(kind) {}
  Kind kind() const { return kind_; }

 private:
  Kind kind_;
};
const char* name_of(KernelError::Kind kind);

enum class Access : std::uint8_t { read, write, atomic };

/// Sees what a launch does, for checks and counters. Called on the fiber of the thread concerned. Every
/// method may throw KernelError.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void launch_begins(const struct LaunchShape& shape) = 0;
  virtual void launch_ends() = 0;   ///< not called for a launch that fails
  virtual void block_begins() = 0;  ///< shared memory is fresh: nothing of it is written
  /// `pc` tells instructions apart (a return address, or an instruction's index in PTX code).
  virtual void access(Access kind, const void* address, std::size_t bytes, std::uintptr_t pc, Site site) = 0;
  /// A cp.async was issued: `target` (shared) will be written when it completes; `source_bytes` of it are
  /// read.
  virtual void async_issued(void* target, std::size_t bytes, const void* source, std::size_t source_bytes,
                            std::uintptr_t pc, Site site) = 0;
  /// The calling thread's copies to `target` have landed.
  virtual void async_landed(void* target, std::size_t bytes) = 0;
  virtual void block_synchronised() = 0;                   ///< all threads of the block met at a barrier
  virtual void warp_synchronised(std::uint32_t mask) = 0;  ///< __syncwarp of these lanes of the current warp
};

struct LaunchShape {
  Extent grid, block;
  std::size_t shared_bytes = 0;  ///< dynamic and static together
  const char* kernel = "";       ///< for reports
};

/// Runs every thread of a launch to its end; `thread` is the body of one thread. Throws KernelError (also
/// what the observer throws), whatever else a thread throws, and std::invalid_argument if the shape is beyond
/// the limits of sm_80 (1,024 threads a block, 163 KiB of shared memory, grid 2^31-1 x 65535 x 65535). When
/// one thread fails the others are dropped where they are: what their stacks own is not released. An access
/// to a guard page or to no memory at all (SIGSEGV) within a thread is a KernelError, illegal_address, on
/// x86-64 and AArch64; it names the thread and the instruction's address, not the line.
void run(const LaunchShape& shape, const std::function<void()>& thread);

/// The order of threads from the next launch on: 0 in order, otherwise random from this seed.
void set_schedule(std::uint64_t seed);
std::uint64_t schedule();
/// Watches every launch from now on; null: none. Not owned.
void set_observer(Observer* observer);
Observer* observer();

// --- Within a thread of a launch.

struct Thread {
  Extent index;          ///< threadIdx, from 0
  Extent block;          ///< blockIdx, from 0
  std::uint32_t linear;  ///< in the block
  std::uint32_t lane;    ///< linear % 32
  std::uint32_t warp;    ///< linear / 32
};

/// Null outside of a launch.
const Thread* this_thread();
/// "block (1,0,0) thread (33,0,0)" of the calling thread.
std::string where_am_i();
/// Ends the launch from the calling thread: run() throws `error`. The frames of the thread are left as they
/// are, not unwound: for callers that exceptions cannot pass, such as the hooks of -fsanitize=thread, which
/// clang calls as functions that never throw.
[[noreturn]] void abandon_launch(std::exception_ptr error);

/// __syncthreads: every thread of the block that has not exited must come to the same site.
void block_barrier(Site site);

/// A warp collective: every lane of `mask` comes with the same `kind` (a name such as "shfl_xor"); the last
/// one runs `combine` once on all lanes' operands (null for lanes outside of the mask), then all go on.
/// Operands live on the lanes' stacks until all have left.
void warp_collective(std::uint32_t mask, const char* kind, Site site, void* operand,
                     void (*combine)(void* const (&operands)[32], std::uint32_t mask));

/// The same for an operand type and a stateless `combine(Operand* const (&)[32], mask)`.
template <class Operand, class Combine>
void warp_collective(std::uint32_t mask, const char* kind, Site site, Operand& operand, Combine) {
  static_assert(std::is_empty_v<Combine>);
  warp_collective(
      mask, kind, site, &operand, +[](void* const(&operands)[32], std::uint32_t lanes) {
        Operand* typed[32];
        for (int lane = 0; lane < 32; ++lane) {
          typed[lane] = static_cast<Operand*>(operands[lane]);
        }
        Combine{}(typed, lanes);
      });
}

/// __syncwarp: a collective that tells the observer.
void warp_barrier(std::uint32_t mask, Site site);

/// Comes before every atomic operation: lets other threads of the block go first at times, and throws
/// (KernelError::Kind::hang) when a loop of atomics waits for what no thread of the block brings.
void atomic_operation(Site site);

/// Whether `address` is on the stack of the calling thread.
bool on_stack(const void* address);

/// The block's shared memory, `shared_bytes` of the launch, 128-byte aligned at its end less the alignment
/// gap: a guard page follows it. Its bytes are poison (0xff, a NaN) when a block begins.
std::byte* shared_memory();
std::size_t shared_bytes();

/// cp.async: `bytes` (4, 8 or 16) at shared `target` become poison now, and `source_bytes` of `source`
/// followed by zeros when the calling thread waits for the group.
void async_copy(void* target, const void* source, std::size_t bytes, std::size_t source_bytes,
                std::uintptr_t pc, Site site);
void async_commit();
/// Lands all but the newest `pending` groups of the calling thread.
void async_wait(unsigned pending);

}  // namespace pagelab::emu
