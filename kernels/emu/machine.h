// The state of the SIMT machine: which threads of the running block can go on, which wait for what, on which
// fibers they live. Internal to kernels/emu; others use simt.h. One instance for the program, used by one OS
// thread.
//
// Ready threads are bits: one word per warp and one word that tells the warps with ready threads, so that
// choosing the next thread needs no queue.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <exception>
#include <functional>
#include <vector>

#include "kernels/emu/block_memory.h"
#include "kernels/emu/fiber.h"
#include "kernels/emu/random.h"
#include "kernels/emu/simt.h"

namespace pagelab::emu::detail {

/// The layout of uint3 and dim3.
struct Index {
  std::uint32_t x, y, z;
};

}  // namespace pagelab::emu::detail

// What device.h calls threadIdx and so on, where they are constants: within a fiber they are.
extern "C" {
extern pagelab::emu::detail::Index pagelab_emu_thread_index, pagelab_emu_block_index;
extern pagelab::emu::detail::Index pagelab_emu_block_size, pagelab_emu_grid_size;
}

namespace pagelab::emu::detail {

inline constexpr std::uint32_t kMaxThreads = 1024;
inline constexpr std::uint32_t kLanes = 32;

/// A thread of the block that runs.
struct Slot {
  Thread thread;
  Fiber* fiber = nullptr;  ///< null before its first instruction and after its last
  AsyncCopies copies;
};

/// A warp collective that not all of its lanes have come to.
struct Rendezvous {
  std::uint32_t mask;  ///< as the lanes gave it
  std::uint32_t missing;
  const char* kind;
  Site site;  ///< of the lane that came first
  std::uint32_t first_lane;
};

struct Warp {
  std::uint32_t present = 0;     ///< lanes that the block has
  std::uint32_t exited = 0;      ///< lanes that have ended
  std::uint32_t at_barrier = 0;  ///< lanes that wait for the block
  std::uint32_t pending_count = 0;
  std::array<Rendezvous, kLanes> pending;  ///< the first pending_count are valid; masks differ
  void* operands[kLanes] = {};             ///< of lanes that wait in a rendezvous
};

class Machine {
 public:
  static Machine& instance();
  /// The machine within a launch, null outside.
  static Machine* running() { return running_; }

  void run(const LaunchShape& shape, const std::function<void()>& body);
  void set_schedule(std::uint64_t seed);
  std::uint64_t schedule() const { return seed_; }

  Slot* current() { return current_; }
  const LaunchShape& shape() const { return *shape_; }
  const Thread& thread(std::uint32_t linear) const { return slots_[linear].thread; }
  const BlockMemory& memory() const { return memory_; }

  void block_barrier(Site site);
  void warp_collective(std::uint32_t mask, const char* kind, Site site, void* operand,
                       void (*combine)(void* const (&operands)[32], std::uint32_t mask));
  /// Before an atomic operation: lets others go first at times, so that a loop that waits for them ends;
  /// throws if nothing else has happened in the block for very many of these.
  void atomic_operation(Site site);

  /// Ends the launch with `error` from within a thread; its fiber is not resumed.
  [[noreturn]] void abandon(std::exception_ptr error);
  /// The stack of the calling thread.
  const Fiber& fiber() const { return *current_->fiber; }

 private:
  Machine();
  static void fiber_main();
  void run_threads();
  void run_block(const Extent& block);
  void begin_block(const Extent& block);
  void thread_exits();

  void make_ready(std::uint32_t warp, std::uint32_t lanes) {
    ready_[warp] |= lanes;
    ready_warps_ |= 1u << warp;
  }
  /// The thread that runs next, no longer marked ready; null if there is none.
  Slot* choose(bool at_random);
  void make_current(Slot* slot);
  /// Leaves the calling thread, which is waiting or marked ready, until it is chosen again.
  void suspend(bool at_random);
  void suspend() { suspend(seed_ != 0); }
  void release_barrier();
  [[noreturn]] void report_deadlock();

  static inline Machine* running_ = nullptr;

  Fiber main_;
  FiberPool pool_;
  BlockMemory memory_;
  std::vector<Slot> slots_;
  std::array<Warp, kMaxThreads / kLanes> warps_;
  std::array<std::uint32_t, kMaxThreads / kLanes> ready_{};
  std::uint32_t ready_warps_ = 0;

  std::uint32_t threads_ = 0;     ///< of a block
  std::uint32_t live_ = 0;        ///< of them, not exited
  std::uint32_t at_barrier_ = 0;  ///< of them, waiting for the block
  Site barrier_site_;             ///< of the thread that came first
  std::uint32_t barrier_first_ = 0;

  std::uint64_t atomics_ = 0;  ///< since a thread exited or a barrier or collective was complete

  Slot* current_ = nullptr;
  const LaunchShape* shape_ = nullptr;
  const std::function<void()>* body_ = nullptr;
  std::exception_ptr error_;
  std::uint64_t seed_ = 0;
  Random random_;
};

inline void Machine::make_current(Slot* slot) {
  current_ = slot;
  pagelab_emu_thread_index = {slot->thread.index.x, slot->thread.index.y, slot->thread.index.z};
}

/// A bit of `bits`, which has one, as `random` has it.
inline std::uint32_t pick_bit(std::uint32_t bits, std::uint64_t random) {
  const int turn = static_cast<int>(random % 32);
  return static_cast<std::uint32_t>(std::countr_zero(std::rotr(bits, turn)) + turn) % 32;
}

inline Slot* Machine::choose(bool at_random) {
  if (ready_warps_ == 0) {
    return nullptr;
  }
  std::uint32_t warp = current_->thread.warp;
  std::uint32_t lane = 0;
  if (!at_random) {
    if (ready_[warp] == 0) {
      warp = static_cast<std::uint32_t>(std::countr_zero(ready_warps_));
    }
    lane = static_cast<std::uint32_t>(std::countr_zero(ready_[warp]));
  } else {
    const std::uint64_t number = random_.next();
    warp = pick_bit(ready_warps_, number);
    lane = pick_bit(ready_[warp], number >> 32);
  }
  ready_[warp] &= ~(1u << lane);
  if (ready_[warp] == 0) {
    ready_warps_ &= ~(1u << warp);
  }
  return &slots_[warp * kLanes + lane];
}

[[gnu::always_inline]] inline void Machine::suspend(bool at_random) {
  Slot* self = current_;
  Slot* next = choose(at_random);
  if (next == self) {
    return;
  }
  if (next == nullptr) {
    report_deadlock();
  }
  if (next->fiber == nullptr) {
    next->fiber = &pool_.take();
  }
  make_current(next);
  switch_fiber(*self->fiber, *next->fiber);
}

/// Throws the KernelError of the calling thread.
[[noreturn]] void fail(KernelError::Kind kind, Site site, const std::string& text);
std::string to_string(Site site);
/// "(1,0,0)"
std::string to_string(const Extent& position);
/// "thread (33,0,0)"
std::string to_string(const Thread& thread);

}  // namespace pagelab::emu::detail
