#include "kernels/emu/fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <new>

#include "kernels/emu/page.h"

#ifdef PAGELAB_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace pagelab::emu::detail {
namespace {

#ifdef PAGELAB_ADDRESS_SANITIZER
constexpr std::size_t kStackBytes = 512 * 1024;  // red zones make frames several times larger
#else
constexpr std::size_t kStackBytes = 128 * 1024;
#endif
constexpr std::size_t kColorStep = 5 * 64;

}  // namespace

Fiber::Fiber(void (*entry)(), std::size_t color) : entry_(entry), color_(color * kColorStep % kPage) {
  stack_size_ = kStackBytes;
  void* mapping = mmap(nullptr, kPage + stack_size_, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (mapping == MAP_FAILED || mprotect(mapping, kPage, PROT_NONE) != 0) {
    throw std::bad_alloc();
  }
  mapping_ = static_cast<std::byte*>(mapping);
  stack_ = mapping_ + kPage;
  reset();
}

Fiber::~Fiber() {
  if (mapping_ != nullptr) {
    munmap(mapping_, kPage + stack_size_);
  }
}

void Fiber::forget_frames() const {
#ifdef PAGELAB_ADDRESS_SANITIZER
  ASAN_UNPOISON_MEMORY_REGION(stack_, stack_size_);
#endif
}

void Fiber::reset() {
  forget_frames();
  shadow_stack_ = nullptr;
  context_ = boost::context::detail::make_fcontext(stack_end() - color_, stack_size_ - color_, &Fiber::begin);
}

#ifdef PAGELAB_ADDRESS_SANITIZER
void Fiber::announce_departure(const Fiber& to) {
  __sanitizer_start_switch_fiber(&shadow_stack_, to.stack_, to.stack_size_);
}

void Fiber::announce_arrival(Fiber& from) {
  const void* bottom = nullptr;
  std::size_t size = 0;
  __sanitizer_finish_switch_fiber(shadow_stack_, &bottom, &size);
  if (from.mapping_ == nullptr) {  // the OS thread's stack is known from here on
    from.stack_ = static_cast<std::byte*>(const_cast<void*>(bottom));
    from.stack_size_ = size;
  }
}
#endif

void Fiber::begin(boost::context::detail::transfer_t transfer) {
  Fiber& from = *static_cast<Fiber*>(transfer.data);
  from.context_ = transfer.fctx;
  Fiber& self = *entering_;
  self.announce_arrival(from);
  self.entry_();
}

void FiberPool::grow() {
  fibers_.push_back(std::make_unique<Fiber>(entry_, fibers_.size()));
  free_.reserve(fibers_.size());
  free_.push_back(fibers_.back().get());
}

void FiberPool::reset() {
  free_.clear();
  for (auto fiber = fibers_.rbegin(); fiber != fibers_.rend(); ++fiber) {
    (*fiber)->reset();
    free_.push_back(fiber->get());
  }
}

}  // namespace pagelab::emu::detail
