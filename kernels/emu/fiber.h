// Fibers: stacks to run threads of a block on, and the switch between them (Boost.Context). A pool owns the
// stacks, each with a guard page below it, and keeps them between launches. Knows nothing of threads and
// blocks.
//
// Under AddressSanitizer every switch is announced to it.
#pragma once

#if defined(__SANITIZE_ADDRESS__)
#define PAGELAB_ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PAGELAB_ADDRESS_SANITIZER 1
#endif
#endif

#include <boost/context/detail/fcontext.hpp>
#include <cstddef>
#include <memory>
#include <vector>

namespace pagelab::emu::detail {

class Fiber {
 public:
  /// The calling OS thread's own stack: what a launch switches away from and comes back to.
  Fiber() = default;
  /// Runs `entry` on a fresh stack of its own when first switched to; `color` staggers the stacks' frames
  /// over the sets of the caches. `entry` never returns.
  Fiber(void (*entry)(), std::size_t color);
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// Drops what the fiber was doing; it begins anew at the next switch. What lives on its stack is not
  /// destroyed.
  void reset();

  /// Tells AddressSanitizer that the frames on the stack are dead.
  void forget_frames() const;

  const std::byte* stack_begin() const { return stack_; }
  std::byte* stack_end() const { return stack_ + stack_size_; }
  const std::byte* guard_begin() const { return mapping_; }

 private:
  friend void switch_fiber(Fiber& from, Fiber& to);
  static void begin(boost::context::detail::transfer_t transfer);
  void announce_departure(const Fiber& to);
  void announce_arrival(Fiber& from);

  boost::context::detail::fcontext_t context_ = nullptr;
  void (*entry_)() = nullptr;
  std::byte* mapping_ = nullptr;
  std::byte* stack_ = nullptr;
  std::size_t stack_size_ = 0;
  std::size_t color_ = 0;
  static inline Fiber* entering_ = nullptr;
  void* shadow_stack_ = nullptr;  ///< AddressSanitizer's, while the fiber does not run
};

#ifndef PAGELAB_ADDRESS_SANITIZER
inline void Fiber::announce_departure(const Fiber&) {}
inline void Fiber::announce_arrival(Fiber&) {}
#endif

/// Runs `to`; returns when something switches back to `from`, which is the fiber that runs now. Inlined, like
/// what calls it: after a switch the processor predicts no return right, so there should be few of them.
[[gnu::always_inline]] inline void switch_fiber(Fiber& from, Fiber& to) {
  from.announce_departure(to);
  Fiber::entering_ = &to;
  const auto transfer = boost::context::detail::jump_fcontext(to.context_, &from);
  Fiber& previous = *static_cast<Fiber*>(transfer.data);
  previous.context_ = transfer.fctx;
  from.announce_arrival(previous);
}

class FiberPool {
 public:
  explicit FiberPool(void (*entry)()) : entry_(entry) {}

  Fiber& take() {
    if (free_.empty()) {
      grow();
    }
    Fiber& fiber = *free_.back();
    free_.pop_back();
    return fiber;
  }
  void give_back(Fiber& fiber) { free_.push_back(&fiber); }
  /// Takes back every fiber, whatever it was doing.
  void reset();

 private:
  void grow();

  void (*entry_)();
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> free_;
};

}  // namespace pagelab::emu::detail
