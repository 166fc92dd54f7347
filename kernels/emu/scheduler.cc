#include <bit>
#include <numeric>
#include <stdexcept>
#include <utility>

#include "kernels/emu/fault.h"
#include "kernels/emu/machine.h"

pagelab::emu::detail::Index pagelab_emu_thread_index, pagelab_emu_block_index;
pagelab::emu::detail::Index pagelab_emu_block_size, pagelab_emu_grid_size;

namespace pagelab::emu::detail {
namespace {

Index to_index(const Extent& extent) {
  return {extent.x, extent.y, extent.z};
}

Extent position(std::uint64_t linear, const Extent& extent) {
  const std::uint64_t row = linear / extent.x;
  return {static_cast<std::uint32_t>(linear % extent.x), static_cast<std::uint32_t>(row % extent.y),
          static_cast<std::uint32_t>(row / extent.y)};
}

void require(bool condition, const char* text) {
  if (!condition) {
    throw std::invalid_argument(text);
  }
}

void check_shape(const LaunchShape& shape) {
  const Extent& grid = shape.grid;
  const Extent& block = shape.block;
  require(grid.x > 0 && grid.y > 0 && grid.z > 0 && block.x > 0 && block.y > 0 && block.z > 0,
          "launch: an extent of grid or block is 0");
  require(block.x <= 1024 && block.y <= 1024 && block.z <= 64 && block.count() <= kMaxThreads,
          "launch: a block has at most 1024 x 1024 x 64 threads and 1024 in all");
  require(grid.x <= 0x7fffffffu && grid.y <= 65535 && grid.z <= 65535,
          "launch: a grid has at most 2147483647 x 65535 x 65535 blocks");
  require(shape.shared_bytes <= BlockMemory::kMaxBytes,
          "launch: a block has at most 163 KiB of shared memory");
}

/// Visits 0..count-1 in order, or in an order that a random affine map makes.
class BlockOrder {
 public:
  BlockOrder(std::uint64_t count, std::uint64_t seed, Random& random) : count_(count) {
    if (seed != 0) {
      offset_ = random.next() % count;
      do {
        step_ = random.next() % count + 1;
      } while (std::gcd(step_, count) != 1);
    }
  }
  std::uint64_t at(std::uint64_t index) const {
    return static_cast<std::uint64_t>((static_cast<unsigned __int128>(step_) * index + offset_) % count_);
  }

 private:
  std::uint64_t count_;
  std::uint64_t step_ = 1;
  std::uint64_t offset_ = 0;
};

constexpr std::uint64_t kPatience = 1024;               ///< atomics, before others go first in order
constexpr std::uint64_t kHopelessAtomics = 1ull << 26;  ///< a second or so

}  // namespace

Machine::Machine() : pool_(&Machine::fiber_main), slots_(kMaxThreads) {}

Machine& Machine::instance() {
  static Machine machine;
  return machine;
}

void Machine::set_schedule(std::uint64_t seed) {
  seed_ = seed;
  random_ = Random(seed);
}

void Machine::run(const LaunchShape& shape, const std::function<void()>& body) {
  check_shape(shape);
  if (running_ != nullptr) {
    throw std::logic_error("launch: a kernel is running already");
  }
  struct Launch {  // what must be undone however the launch ends
    Machine& machine;
    FaultHandler faults;
    ~Launch() {
      running_ = nullptr;
      machine.current_ = nullptr;
    }
  };
  Launch launch{*this, {}};
  running_ = this;
  current_ = slots_.data();
  shape_ = &shape;
  body_ = &body;
  threads_ = static_cast<std::uint32_t>(shape.block.count());
  pagelab_emu_grid_size = to_index(shape.grid);
  pagelab_emu_block_size = to_index(shape.block);
  for (std::uint32_t linear = 0; linear < threads_; ++linear) {
    slots_[linear].thread = {position(linear, shape.block), {}, linear, linear % kLanes, linear / kLanes};
    slots_[linear].fiber = nullptr;
  }
  memory_.resize(shape.shared_bytes);
  if (Observer* watcher = observer()) {
    watcher->launch_begins(shape);
  }
  const BlockOrder order(shape.grid.count(), seed_, random_);
  for (std::uint64_t index = 0; index < shape.grid.count(); ++index) {
    run_block(position(order.at(index), shape.grid));
  }
  if (Observer* watcher = observer()) {
    watcher->launch_ends();
  }
}

void Machine::begin_block(const Extent& block) {
  pagelab_emu_block_index = to_index(block);
  live_ = threads_;
  at_barrier_ = 0;
  atomics_ = 0;
  const std::uint32_t warps = (threads_ + kLanes - 1) / kLanes;
  for (std::uint32_t index = 0; index < warps; ++index) {
    const std::uint32_t lanes = threads_ - index * kLanes;
    Warp& warp = warps_[index];
    warp.present = lanes >= kLanes ? ~0u : (1u << lanes) - 1;
    warp.exited = 0;
    warp.at_barrier = 0;
    warp.pending_count = 0;
    ready_[index] = warp.present;
  }
  ready_warps_ = warps == kLanes ? ~0u : (1u << warps) - 1;
  for (std::uint32_t linear = 0; linear < threads_; ++linear) {
    slots_[linear].thread.block = block;
    slots_[linear].fiber = nullptr;
    slots_[linear].copies.clear();
  }
  memory_.poison();
}

void Machine::run_block(const Extent& block) {
  begin_block(block);
  make_current(&slots_[0]);
  if (Observer* watcher = observer()) {
    watcher->block_begins();
  }
  Slot* first = choose(seed_ != 0);
  Fiber& fiber = pool_.take();
  first->fiber = &fiber;
  make_current(first);
  switch_fiber(main_, fiber);
  if (error_) {
    pool_.reset();
    std::rethrow_exception(std::exchange(error_, nullptr));
  }
  if (!memory_.gap_intact()) {
    throw KernelError(KernelError::Kind::illegal_address,
                      "illegal address: " + std::string(shape_->kernel) + " block " + to_string(block) +
                          " wrote beyond its " + std::to_string(memory_.bytes()) + " bytes of shared memory");
  }
}

void Machine::fiber_main() {
  instance().run_threads();
}

void Machine::run_threads() {
  for (;;) {
    std::exception_ptr error;
    Slot* next = nullptr;
    try {
      (*body_)();  // NOLINT(clang-analyzer-core.CallAndMessage): there while a launch runs
      thread_exits();
      next = choose(seed_ != 0);
      if (next == nullptr && live_ > 0) {
        report_deadlock();
      }
    } catch (...) {
      error = std::current_exception();
    }
    if (error) {
      abandon(std::move(error));
    }
    Fiber& self = *current_->fiber;
    current_->fiber = nullptr;
    if (next == nullptr) {
      pool_.give_back(self);
      switch_fiber(self, main_);
    } else if (next->fiber == nullptr) {  // not begun: it can begin here
      next->fiber = &self;
      make_current(next);
    } else {
      pool_.give_back(self);
      make_current(next);
      switch_fiber(self, *next->fiber);
    }
  }
}

void Machine::abandon(std::exception_ptr error) {
  error_ = std::move(error);
  switch_fiber(*current_->fiber, main_);
  std::terminate();
}

void Machine::atomic_operation(Site site) {
  ++atomics_;
  if (atomics_ == kHopelessAtomics) {
    fail(KernelError::Kind::hang, site, "waits in a loop for what no thread of the block brings");
  }
  if (seed_ != 0 ? (random_.next() & 1) != 0 : atomics_ % kPatience == 0) {
    make_ready(current_->thread.warp, 1u << current_->thread.lane);
    suspend(true);
  }
}

}  // namespace pagelab::emu::detail

namespace pagelab::emu {
namespace {

Observer* watching = nullptr;

}  // namespace

using detail::Machine;

void run(const LaunchShape& shape, const std::function<void()>& thread) {
  Machine::instance().run(shape, thread);
}
void set_schedule(std::uint64_t seed) {
  Machine::instance().set_schedule(seed);
}
std::uint64_t schedule() {
  return Machine::instance().schedule();
}
void set_observer(Observer* observer) {
  watching = observer;
}
Observer* observer() {
  return watching;
}
void atomic_operation(Site site) {
  Machine::running()->atomic_operation(site);
}

void abandon_launch(std::exception_ptr error) {
  Machine::running()->abandon(std::move(error));
}

bool on_stack(const void* address) {
  const detail::Fiber& fiber = Machine::running()->fiber();
  return address >= fiber.stack_begin() && address < fiber.stack_end();
}

}  // namespace pagelab::emu
