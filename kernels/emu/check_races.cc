#include "kernels/emu/check_races.h"

#include <algorithm>
#include <bit>
#include <new>

namespace pagelab::emu {
namespace {

constexpr std::uint32_t kMaxStamp = 0x3ffff;

/// What `lanes` of a set of several warps holds: a second thread and its site.
std::uint32_t pack_other(std::uint32_t thread, std::uint32_t info) {
  return thread << 22 | (info & (kMaxSites - 1));
}

}  // namespace

void Order::launch_begins(std::uint64_t threads_per_block) {
  launch_begin_ = ++epoch_;
  warps_.assign((threads_per_block + 31) / 32, Warp{});
}

void Order::block_begins() {
  block_synchronised();
  block_begin_ = epoch_;
}

void Order::block_synchronised() {
  ++epoch_;
  for (Warp& warp : warps_) {
    if (warp.stamp != 0) {
      warp = Warp{};
    }
  }
}

void Order::warp_synchronised(std::uint32_t warp_index, std::uint32_t mask) {
  Warp& warp = warps_[warp_index];
  if (warp.stamp == kMaxStamp) {
    throw KernelError(
        KernelError::Kind::unsupported,
        "the checks follow no more than 262,143 calls of __syncwarp by a warp between two barriers");
  }
  ++warp.stamp;
  std::array<std::uint32_t, 32> joined{};
  for (std::uint32_t rest = mask; rest != 0; rest &= rest - 1) {
    const auto& seen = warp.seen[static_cast<unsigned>(std::countr_zero(rest))];
    for (std::size_t lane = 0; lane < 32; ++lane) {
      joined[lane] = std::max(joined[lane], seen[lane]);
    }
  }
  for (std::uint32_t lane = 0; lane < 32; ++lane) {
    joined[lane] = (mask >> lane & 1) != 0 ? warp.stamp : joined[lane];
  }
  for (std::uint32_t rest = mask; rest != 0; rest &= rest - 1) {
    warp.seen[static_cast<unsigned>(std::countr_zero(rest))] = joined;
  }
}

void Order::set_thread(std::uint32_t thread) {
  thread_ = thread;
  key_ = epoch_ << 28 | std::uint64_t{warps_[thread / 32].stamp} << 10 | thread;
}

bool Order::unordered(const Parties& parties, Access kind, Conflict& who) const {
  const std::uint64_t epoch = parties.epoch();
  std::uint32_t thread = parties.thread();
  SiteId site = parties.site();
  if (!parties.has(Parties::kInFlight) && epoch >= block_begin_) {
    if (epoch != epoch_) {
      return false;  // a barrier lies between
    }
    if (thread / 32 != thread_ / 32) {
      // the first party is of another warp
    } else if (parties.has(Parties::kManyWarps)) {
      thread = parties.lanes >> 22;
      site = parties.lanes & (kMaxSites - 1);
    } else {
      const std::uint32_t me = thread_ & 31;
      const auto& seen = warps_[thread_ / 32].seen[me];
      std::uint32_t rest = parties.lanes & ~(1u << me);
      while (rest != 0 && seen[static_cast<unsigned>(std::countr_zero(rest))] > parties.stamp()) {
        rest &= rest - 1;
      }
      if (rest == 0) {
        return false;
      }
      thread = (thread_ & ~31u) | static_cast<std::uint32_t>(std::countr_zero(rest));
    }
  }
  who = {epoch, thread, site, kind, parties.has(Parties::kInFlight)};
  return true;
}

void Order::add(Parties& parties, std::uint64_t floor, std::uint32_t info) const {
  const std::uint64_t epoch = parties.epoch();
  if (epoch >= floor && epoch < block_begin_) {
    return;  // another block's access conflicts with whatever this block's would conflict with
  }
  if (epoch != epoch_) {
    parties = self(info);
    return;
  }
  if (parties.has(Parties::kManyWarps)) {
    return;
  }
  if (parties.thread() / 32 != thread_ / 32) {
    parties.info |= Parties::kManyWarps;
    parties.lanes = pack_other(thread_, info);
    return;
  }
  std::uint32_t lanes = parties.lanes;
  const std::uint32_t old = parties.stamp();
  if (old != warps_[thread_ / 32].stamp) {
    // What comes after this access comes after those that this access comes after.
    const auto& seen = warps_[thread_ / 32].seen[thread_ & 31];
    for (std::uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
      const auto lane = static_cast<unsigned>(std::countr_zero(rest));
      lanes &= seen[lane] > old ? ~(1u << lane) : ~0u;
    }
  }
  parties = self(info);
  parties.lanes |= lanes;
}

RaceShadow::RaceShadow(std::size_t bytes) : bytes_(bytes), cells_(allocate(count())) {}

RaceShadow::Cells RaceShadow::allocate(std::size_t count) {
  // calloc leaves pages that nothing touches to the operating system.
  auto* cells = static_cast<Cell*>(std::calloc(std::max<std::size_t>(count, 1), sizeof(Cell)));
  if (cells == nullptr) {
    throw std::bad_alloc();
  }
  return Cells(cells);
}

void RaceShadow::refine() {
  const std::size_t coarse = count();
  --shift_;
  Cells finer = allocate(2 * coarse);
  for (std::size_t index = 0; index < coarse; ++index) {
    const Cell& cell = cells_[index];
    if ((cell.write.key | cell.read.key | cell.atomic.key) != 0) {
      finer[2 * index] = finer[2 * index + 1] = cell;
    }
  }
  cells_ = std::move(finer);
}

bool RaceShadow::read(const Order& order, std::uint64_t floor, std::size_t offset, std::size_t bytes,
                      SiteId site, Conflict& who) {
  const Range cells = range(offset, bytes);
  for (Cell* cell = cells.begin; cell != cells.end; ++cell) {
    if (order.conflicts(cell->write, Access::write, floor, who) ||
        order.conflicts(cell->atomic, Access::atomic, floor, who)) {
      return true;
    }
    order.add(cell->read, floor, site);
  }
  return false;
}

bool RaceShadow::overwrite(const Order& order, std::uint64_t floor, std::size_t offset, std::size_t bytes,
                           std::uint32_t info, Conflict& who) {
  const Range cells = range(offset, bytes);
  for (Cell* cell = cells.begin; cell != cells.end; ++cell) {
    if (order.conflicts(cell->write, Access::write, floor, who) ||
        order.conflicts(cell->read, Access::read, floor, who) ||
        order.conflicts(cell->atomic, Access::atomic, floor, who)) {
      return true;
    }
    cell->write = order.self(info);
    cell->read.key = 0;  // what races with one of them races with this write
    cell->atomic.key = 0;
  }
  return false;
}

bool RaceShadow::write(const Order& order, std::uint64_t floor, std::size_t offset, std::size_t bytes,
                       SiteId site, Conflict& who) {
  return overwrite(order, floor, offset, bytes, site, who);
}

bool RaceShadow::issue(const Order& order, std::uint64_t floor, std::size_t offset, std::size_t bytes,
                       SiteId site, Conflict& who) {
  return overwrite(order, floor, offset, bytes, site | Parties::kInFlight, who);
}

bool RaceShadow::atomic(const Order& order, std::uint64_t floor, std::size_t offset, std::size_t bytes,
                        SiteId site, Conflict& who) {
  const Range cells = range(offset, bytes);
  for (Cell* cell = cells.begin; cell != cells.end; ++cell) {
    if (order.conflicts(cell->write, Access::write, floor, who) ||
        order.conflicts(cell->read, Access::read, floor, who)) {
      return true;
    }
    order.add(cell->atomic, floor, site);
  }
  return false;
}

void RaceShadow::landed(const Order& order, std::size_t offset, std::size_t bytes) {
  const Range cells = range(offset, bytes);
  for (Cell* cell = cells.begin; cell != cells.end; ++cell) {
    cell->write = order.self(cell->write.site());
  }
}

}  // namespace pagelab::emu
