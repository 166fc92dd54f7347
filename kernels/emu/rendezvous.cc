// Where threads meet: the block's barrier and the collectives of a warp, and what happens to those who wait
// when a thread exits or nobody can go on.

#include <cstdio>
#include <cstring>
#include <utility>

#include "kernels/emu/machine.h"

namespace pagelab::emu::detail {
namespace {

std::string hexadecimal(std::uint32_t mask) {
  char text[11];
  std::snprintf(text, sizeof text, "0x%08x", mask);
  return text;
}

bool same_kind(const char* a, const char* b) {
  return a == b || std::strcmp(a, b) == 0;
}

}  // namespace

[[gnu::always_inline]] inline void Machine::block_barrier(Site site) {
  const Thread& self = current_->thread;
  if (at_barrier_ == 0) {
    barrier_site_ = site;
    barrier_first_ = self.linear;
  } else if (barrier_site_.line != site.line || !same_kind(barrier_site_.file, site.file)) {
    fail(KernelError::Kind::barrier, site,
         "comes to this barrier while " + to_string(thread(barrier_first_)) + " waits at the one at " +
             to_string(barrier_site_));
  }
  ++at_barrier_;
  warps_[self.warp].at_barrier |= 1u << self.lane;
  if (at_barrier_ == live_) {
    release_barrier();
  }
  suspend();
}

void Machine::release_barrier() {
  if (Observer* watcher = observer()) {
    watcher->block_synchronised();
  }
  at_barrier_ = 0;
  atomics_ = 0;
  for (std::uint32_t index = 0; index * kLanes < threads_; ++index) {
    if (warps_[index].at_barrier != 0) {
      make_ready(index, std::exchange(warps_[index].at_barrier, 0));
    }
  }
}

[[gnu::always_inline]] inline void Machine::warp_collective(std::uint32_t mask, const char* kind, Site site,
                                                            void* operand,
                                                            void (*combine)(void* const (&operands)[kLanes],
                                                                            std::uint32_t mask)) {
  const Thread& self = current_->thread;
  Warp& warp = warps_[self.warp];
  const std::uint32_t bit = 1u << self.lane;
  if ((mask & bit) == 0) {
    fail(KernelError::Kind::collective, site,
         std::string(kind) + " with mask " + hexadecimal(mask) + ", which leaves out the calling lane " +
             std::to_string(self.lane));
  }
  if ((mask & warp.exited) != 0) {
    fail(KernelError::Kind::collective, site,
         std::string(kind) + " with mask " + hexadecimal(mask) + ", of which lanes " +
             hexadecimal(mask & warp.exited) + " have exited");
  }
  std::uint32_t index = 0;
  while (index < warp.pending_count && warp.pending[index].mask != mask) {
    ++index;
  }
  Rendezvous& meeting = warp.pending[index];
  if (index == warp.pending_count) {
    meeting = {mask, mask & warp.present, kind, site, self.lane};
    ++warp.pending_count;
  } else if (!same_kind(meeting.kind, kind)) {
    fail(KernelError::Kind::collective, site,
         std::string(kind) + " with mask " + hexadecimal(mask) + ", while lane " +
             std::to_string(meeting.first_lane) + " of that mask waits in " + meeting.kind + " at " +
             to_string(meeting.site));
  }
  warp.operands[self.lane] = operand;
  meeting.missing &= ~bit;
  if (meeting.missing != 0) {
    suspend();
    return;
  }
  meeting = warp.pending[--warp.pending_count];
  atomics_ = 0;
  const std::uint32_t lanes = mask & warp.present;
  if (lanes == ~0u) {
    combine(warp.operands, lanes);
  } else {
    void* operands[kLanes];
    for (std::uint32_t lane = 0; lane < kLanes; ++lane) {
      operands[lane] = (lanes >> lane & 1) != 0 ? warp.operands[lane] : nullptr;
    }
    combine(operands, lanes);
  }
  if (lanes != bit) {
    make_ready(self.warp, lanes);
    suspend();
  }
}

void Machine::thread_exits() {
  const Thread& self = current_->thread;
  Warp& warp = warps_[self.warp];
  const std::uint32_t bit = 1u << self.lane;
  warp.exited |= bit;
  for (std::uint32_t index = 0; index < warp.pending_count; ++index) {
    const Rendezvous& meeting = warp.pending[index];
    if ((meeting.mask & bit) != 0) {
      fail(KernelError::Kind::collective, meeting.site,
           "exits while lane " + std::to_string(meeting.first_lane) + " waits for it in " + meeting.kind +
               " with mask " + hexadecimal(meeting.mask));
    }
  }
  --live_;
  atomics_ = 0;
  if (live_ > 0 && at_barrier_ == live_) {
    release_barrier();
  }
}

void Machine::report_deadlock() {
  std::string text = "no thread of the block can go on";
  Site site = barrier_site_;
  if (at_barrier_ > 0) {
    text += "; " + std::to_string(at_barrier_) + " of " + std::to_string(live_) + " threads, " +
            to_string(thread(barrier_first_)) + " first, wait at the barrier at " + to_string(barrier_site_);
  }
  for (std::uint32_t index = 0; index * kLanes < threads_; ++index) {
    const Warp& warp = warps_[index];
    for (std::uint32_t number = 0; number < warp.pending_count; ++number) {
      const Rendezvous& meeting = warp.pending[number];
      text += "; warp " + std::to_string(index) + " waits in " + meeting.kind + " at " +
              to_string(meeting.site) + " with mask " + hexadecimal(meeting.mask) + " for lanes " +
              hexadecimal(meeting.missing);
      site = at_barrier_ > 0 ? site : meeting.site;
    }
  }
  fail(at_barrier_ > 0 ? KernelError::Kind::barrier : KernelError::Kind::collective, site, text);
}

}  // namespace pagelab::emu::detail

namespace pagelab::emu {

void block_barrier(Site site) {
  detail::Machine::running()->block_barrier(site);
}

void warp_collective(std::uint32_t mask, const char* kind, Site site, void* operand,
                     void (*combine)(void* const (&operands)[32], std::uint32_t mask)) {
  detail::Machine::running()->warp_collective(mask, kind, site, operand, combine);
}

void warp_barrier(std::uint32_t mask, Site site) {
  warp_collective(mask, "syncwarp", site, nullptr, [](void* const(&)[32], std::uint32_t lanes) {
    if (Observer* watcher = observer()) {
      watcher->warp_synchronised(lanes);
    }
  });
}

}  // namespace pagelab::emu
