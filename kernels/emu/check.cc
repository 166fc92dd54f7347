#include "kernels/emu/check.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string_view>

namespace pagelab::emu {
namespace {

const char* verb(Access kind) {
  return kind == Access::read ? "reads" : kind == Access::write ? "writes" : "updates atomically";
}

/// What a single instruction of a GPU can access.
bool is_word(std::size_t bytes) {
  return std::has_single_bit(bytes) && bytes <= 16;
}

}  // namespace

Checker::Checker() {
  if (observer() != nullptr || memory_listener() != nullptr) {
    throw std::logic_error("Checker: launches are being watched already");
  }
  for (const Allocation& allocation : live_allocations()) {
    allocated(allocation);
    allocations_.at(allocation.id)->written.mark(0, allocation.bytes);
  }
  set_observer(this);
  set_memory_listener(this);
}

Checker::~Checker() {
  const char* wanted = std::getenv("PAGELAB_EMU_REPORT");
  if (wanted != nullptr && std::string_view(wanted) == "1") {
    std::fputs(format_counters(counters()).c_str(), stderr);
  }
  set_observer(nullptr);
  set_memory_listener(nullptr);
}

void Checker::launch_begins(const LaunchShape& shape) {
  shape_ = shape;
  order_.launch_begins(shape.block.count());
  counters_.launch_begins(shape.block.count());
  blocks_.clear();
  const bool fits =
      shared_ && shared_->bytes == shape.shared_bytes && !(shared_->races && shared_->races->refined());
  if (!fits) {
    shared_ = std::make_unique<Region>(Space::shared, nullptr, shape.shared_bytes, false);
  }
}

void Checker::launch_ends() {
  counters_.converged();
}

void Checker::block_begins() {
  counters_.converged();
  order_.block_begins();
  blocks_.push_back({order_.epoch(), this_thread()->block});
  shared_->begin = shared_memory();
  shared_->written.clear(shared_->bytes);
}

void Checker::block_synchronised() {
  order_.block_synchronised();
  counters_.converged();
}

void Checker::warp_synchronised(std::uint32_t mask) {
  const std::uint32_t warp = this_thread()->warp;
  order_.warp_synchronised(warp, mask);
  const std::uint64_t lanes = std::min<std::uint64_t>(32, shape_.block.count() - warp * 32);
  if (std::popcount(mask) == static_cast<int>(lanes)) {
    counters_.converged(warp);
  }
}

void Checker::access(Access kind, const void* address, std::size_t bytes, std::uintptr_t pc, Site site) {
  const Thread& thread = *this_thread();
  order_.set_thread(thread.linear);
  const Doing doing{verb(kind), address, bytes, sites_.id(pc, site)};
  Region* const found = region_at(address);
  if (found == nullptr && is_library(doing.site)) {
    return;
  }
  check_bounds(found, doing);
  Region& region = *found;
  const std::size_t offset = region.offset(address);
  RaceShadow& races = races_of(region);
  const std::uint64_t floor = floor_of(region);
  Conflict who;
  const bool race = kind == Access::read    ? races.read(order_, floor, offset, bytes, doing.site, who)
                    : kind == Access::write ? races.write(order_, floor, offset, bytes, doing.site, who)
                                            : races.atomic(order_, floor, offset, bytes, doing.site, who);
  if (race) {
    report_race(region, doing, who);
  }
  if (kind != Access::write) {
    check_written(region, doing);
  }
  if (kind != Access::read) {
    region.written.mark(offset, bytes);
  }
  count(thread, region, kind, doing);
}

void Checker::async_issued(void* target, std::size_t bytes, const void* source, std::size_t source_bytes,
                           std::uintptr_t pc, Site site) {
  const Thread& thread = *this_thread();
  order_.set_thread(thread.linear);
  const SiteId id = sites_.id(pc, site);
  Conflict who;
  if (source_bytes > 0) {
    const Doing reading{"copies asynchronously from", source, source_bytes, id};
    Region* const region = region_at(source);
    check_bounds(region, reading);
    if (races_of(*region).read(order_, floor_of(*region), region->offset(source), source_bytes, id, who)) {
      report_race(*region, reading, who);
    }
    check_written(*region, reading);
    count(thread, *region, Access::read, reading);
  }
  const Doing writing{"copies asynchronously to", target, bytes, id};
  Region* const region = region_at(target);
  check_bounds(region, writing);
  if (region->space != Space::shared) {
    report(KernelError::Kind::illegal_address, writing, ", which is not shared memory");
  }
  if (races_of(*region).issue(order_, floor_of(*region), region->offset(target), bytes, id, who)) {
    report_race(*region, writing, who);
  }
  count(thread, *region, Access::write, writing);
}

void Checker::async_landed(void* target, std::size_t bytes) {
  order_.set_thread(this_thread()->linear);
  const std::size_t offset = shared_->offset(target);
  races_of(*shared_).landed(order_, offset, bytes);
  shared_->written.mark(offset, bytes);
}

std::vector<LineCount> Checker::counters() {
  return counters_.lines(sites_);
}
void Checker::reset_counters() {
  counters_.reset();
}

void Checker::count(const Thread& thread, const Region& region, Access kind, const Doing& doing) {
  if (is_word(doing.bytes)) {
    counters_.record(thread, doing.site, kind, region.space == Space::shared,
                     reinterpret_cast<std::uintptr_t>(doing.address), doing.bytes);
  }
}

void Checker::check_written(const Region& region, const Doing& doing) {
  const std::size_t offset = region.offset(doing.address);
  if (!region.written.all(offset, doing.bytes)) {
    report(KernelError::Kind::uninitialised, doing,
           " of " + name_of(region) + " at offset " + std::to_string(offset) + "; nothing has written byte " +
               std::to_string(region.written.first_unwritten(offset, doing.bytes)));
  }
}

RaceShadow& Checker::races_of(Region& region) {
  if (!region.races) {
    region.races.emplace(region.bytes);
  }
  return *region.races;
}

Checker::Region* Checker::allocation_at(const void* address) {
  if (last_ != nullptr && last_->offset(address) < last_->bytes) {
    return last_;
  }
  const Allocation* allocation = find(address);
  if (allocation == nullptr) {
    return nullptr;
  }
  last_ = allocations_.at(allocation->id).get();
  return last_;
}

void Checker::check_bounds(const Region* region, const Doing& doing) {
  if (region == nullptr || region->offset(doing.address) + doing.bytes > region->bytes) {
    report_nowhere(doing);
  }
  if (is_word(doing.bytes) && reinterpret_cast<std::uintptr_t>(doing.address) % doing.bytes != 0) {
    report(KernelError::Kind::illegal_address, doing,
           " of " + name_of(*region) + " at offset " + std::to_string(region->offset(doing.address)) +
               ": the address is not a multiple of " + std::to_string(doing.bytes));
  }
}

bool Checker::is_library(SiteId site) {
  return sites_.place(site).file.find("/include/c++/") != std::string::npos;
}

void Checker::allocated(const Allocation& allocation) {
  const bool pinned = allocation.kind == MemoryKind::pinned;
  allocations_[allocation.id] = std::make_unique<Region>(pinned ? Space::pinned : Space::device,
                                                         allocation.begin, allocation.bytes, pinned);
}

void Checker::released(const Allocation& allocation) {
  last_ = nullptr;
  allocations_.erase(allocation.id);
  freed_[freed_count_++ % freed_.size()] = allocation;
}

void Checker::written(const void* begin, std::size_t bytes) {
  if (Region* region = allocation_at(begin)) {
    region->written.mark(region->offset(begin), bytes);
  }
}

void Checker::copied(void* target, const void* source, std::size_t bytes) {
  Region* from = allocation_at(source);
  Region* to = allocation_at(target);
  if (from != nullptr && to != nullptr && to->space == Space::device) {
    to->written.copy(to->offset(target), from->written, from->offset(source), bytes);
  }
}

}  // namespace pagelab::emu
