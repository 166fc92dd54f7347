// What the checker says: one sentence per report.
#include <algorithm>
#include <array>
#include <cstdio>

#include "kernels/emu/check.h"
#include "kernels/emu/machine.h"

namespace pagelab::emu {
namespace {

std::string count_bytes(std::size_t bytes) {
  return std::to_string(bytes) + (bytes == 1 ? " byte" : " bytes");
}

std::string describe(const Allocation& allocation) {
  return std::string(allocation.kind == MemoryKind::pinned ? "a pinned" : "a device") + " allocation of " +
         count_bytes(allocation.bytes);
}

/// How far from memory that it does not belong to an address is still said to be "past its end" or "before"
/// it.
constexpr std::uintptr_t kNear = 1 << 16;

/// Where `address` lies beside [begin, begin + bytes); empty if far from it.
std::string beside(std::uintptr_t address, std::uintptr_t begin, std::size_t bytes) {
  if (address >= begin + bytes && address - begin - bytes < kNear) {
    return count_bytes(address - begin - bytes) + " past the end of ";
  }
  if (address < begin && begin - address <= kNear) {
    return count_bytes(begin - address) + " before ";
  }
  if (address >= begin && address < begin + bytes) {
    return "across the end of ";
  }
  return {};
}

std::uintptr_t number(const void* address) {
  return reinterpret_cast<std::uintptr_t>(address);
}

}  // namespace

std::string Checker::name_of(const Region& region) {
  if (region.space == Space::shared) {
    return "shared memory";
  }
  return describe({region.begin, region.bytes,
                   region.space == Space::pinned ? MemoryKind::pinned : MemoryKind::device, 0});
}

std::string Checker::name_of_thread(std::uint32_t linear) const {
  const Extent& block = shape_.block;
  return "thread " +
         detail::to_string(Extent{linear % block.x, linear / block.x % block.y, linear / block.x / block.y});
}

void Checker::report(KernelError::Kind kind, const Doing& doing, const std::string& rest) {
  throw KernelError(kind, std::string(emu::name_of(kind)) + ": " + sites_.place(doing.site).text() + " " +
                              where_am_i() + " " + doing.verb + " " + count_bytes(doing.bytes) + rest);
}

void Checker::report_nowhere(const Doing& doing) {
  const std::uintptr_t address = number(doing.address);
  std::string where = beside(address, number(shared_->begin), shared_->bytes);
  if (shared_->bytes > 0 && !where.empty()) {
    report(KernelError::Kind::illegal_address, doing,
           " " + where + "the block's " + count_bytes(shared_->bytes) + " of shared memory");
  }
  for (const Allocation& allocation : freed_) {
    if (allocation.contains(doing.address)) {
      report(KernelError::Kind::illegal_address, doing,
             " at offset " + std::to_string(address - number(allocation.begin)) + " of " +
                 describe(allocation) + " that has been freed");
    }
  }
  for (const Allocation& allocation : live_allocations()) {
    where = beside(address, number(allocation.begin), allocation.bytes);
    if (!where.empty()) {
      report(KernelError::Kind::illegal_address, doing, " " + where + describe(allocation));
    }
  }
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "0x%zx", static_cast<std::size_t>(address));
  report(KernelError::Kind::illegal_address, doing,
         std::string(" at ") + text.data() + ", where there is no memory of the device");
}

void Checker::report_race(const Region& region, const Doing& doing, const Conflict& who) {
  std::string other = name_of_thread(who.thread);
  std::string why = " with no barrier between";
  if (who.epoch < order_.block_begin()) {
    const auto block =
        std::upper_bound(blocks_.begin(), blocks_.end(), who.epoch,
                         [](std::uint64_t epoch, const Block& entry) { return epoch < entry.epoch; });
    other = "block " + detail::to_string(std::prev(block)->index) + " " + other;
    why = "; nothing orders the blocks of a launch";
  }
  std::string deed = who.kind == Access::read    ? "read"
                     : who.kind == Access::write ? "written"
                                                 : "updated atomically";
  if (who.in_flight) {
    deed = "the target of a cp.async issued";
    why = ", which has not waited for it";
  }
  report(KernelError::Kind::race, doing,
         " of " + name_of(region) + " at offset " + std::to_string(region.offset(doing.address)) + ", " +
             deed + " at " + sites_.place(who.site).text() + " by " + other + why);
}

}  // namespace pagelab::emu
