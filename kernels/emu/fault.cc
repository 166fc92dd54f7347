#include "kernels/emu/fault.h"

#include <sys/ucontext.h>

#include <array>
#include <csignal>
#include <cstdint>
#include <cstdio>

#include "kernels/emu/machine.h"

namespace pagelab::emu::detail {
namespace {

const void* fault_address = nullptr;
std::uintptr_t fault_pc = 0;
struct sigaction previous_segv;
struct sigaction previous_bus;

std::exception_ptr fault_error(const Machine& machine) {
  const Fiber& fiber = machine.fiber();
  const char* what = machine.memory().owns(fault_address) ? "beyond the block's shared memory"
                     : fault_address >= fiber.guard_begin() && fault_address < fiber.stack_begin()
                         ? "below its stack: the thread's local variables or its recursion are too large"
                         : "where no live allocation is";
  char text[512];
  std::snprintf(text, sizeof text, "%s: kernel %s %s accesses %p, %s (instruction at %#zx)",
                name_of(KernelError::Kind::illegal_address), machine.shape().kernel, where_am_i().c_str(),
                fault_address, what, static_cast<std::size_t>(fault_pc));
  return std::make_exception_ptr(KernelError(KernelError::Kind::illegal_address, text));
}

/// Where the fiber goes on after the signal.
[[noreturn]] void end_thread() {
  Machine& machine = *Machine::running();
  machine.abandon(fault_error(machine));
}

void pass_on(int signal, siginfo_t* info, void* context, const struct sigaction& previous) {
  if ((previous.sa_flags & SA_SIGINFO) != 0) {
    previous.sa_sigaction(signal, info, context);
  } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
    previous.sa_handler(signal);
  } else {
    sigaction(signal, &previous, nullptr);  // the instruction faults again and ends the program
  }
}

void handle(int signal, siginfo_t* info, void* context) {
#if defined(__x86_64__) || defined(__aarch64__)
  if (Machine::running() != nullptr && Machine::running()->current()->fiber != nullptr) {
    const Fiber& fiber = Machine::running()->fiber();
    auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext;
    fault_address = info->si_addr;
    fiber.forget_frames();
    const auto stack = reinterpret_cast<std::uintptr_t>(fiber.stack_end());
    const auto target = reinterpret_cast<std::uintptr_t>(&end_thread);
#ifdef __x86_64__
    fault_pc = static_cast<std::uintptr_t>(registers.gregs[REG_RIP]);
    registers.gregs[REG_RIP] = static_cast<greg_t>(target);
    registers.gregs[REG_RSP] = static_cast<greg_t>(stack - 64 - 8);  // as after a call
#else
    fault_pc = registers.pc;
    registers.pc = target;
    registers.sp = stack - 64;
#endif
    return;
  }
#endif
  pass_on(signal, info, context, signal == SIGSEGV ? previous_segv : previous_bus);
}

/// The handler needs a stack of its own: the fiber's may be what overflowed.
void provide_signal_stack() {
  static std::array<std::byte, 64 * 1024> memory;
  stack_t present{};
  sigaltstack(nullptr, &present);
  if ((present.ss_flags & SS_DISABLE) != 0) {
    stack_t own{};
    own.ss_sp = memory.data();
    own.ss_size = memory.size();
    sigaltstack(&own, nullptr);
  }
}

}  // namespace

FaultHandler::FaultHandler() {
  provide_signal_stack();
  struct sigaction action {};
  action.sa_sigaction = &handle;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  sigaction(SIGSEGV, &action, &previous_segv);
  sigaction(SIGBUS, &action, &previous_bus);
}

FaultHandler::~FaultHandler() {
  sigaction(SIGSEGV, &previous_segv, nullptr);
  sigaction(SIGBUS, &previous_bus, nullptr);
}

}  // namespace pagelab::emu::detail
