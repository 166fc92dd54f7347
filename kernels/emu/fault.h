// Turns an access to a guard page by a kernel's thread into a KernelError.
#pragma once

namespace pagelab::emu::detail {

/// While it lives, a SIGSEGV or SIGBUS within a thread of the launch ends the launch with illegal_address:
/// the signal handler sends the fiber, on an emptied stack, to where the error is recorded and the machine's
/// own stack is gone back to; nothing is unwound. On processors other than x86-64 and AArch64, and for
/// signals outside of threads, the handler that was there before decides.
class FaultHandler {
 public:
  FaultHandler();
  ~FaultHandler();
  FaultHandler(const FaultHandler&) = delete;
  FaultHandler& operator=(const FaultHandler&) = delete;
};

}  // namespace pagelab::emu::detail
