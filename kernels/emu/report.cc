// Who and where, in words.

#include "kernels/emu/machine.h"

namespace pagelab::emu {
namespace detail {

std::string to_string(const Extent& position) {
  return '(' + std::to_string(position.x) + ',' + std::to_string(position.y) + ',' +
         std::to_string(position.z) + ')';
}

std::string to_string(Site site) {
  return std::string(site.file) + ':' + std::to_string(site.line);
}

std::string to_string(const Thread& thread) {
  return "thread " + to_string(thread.index);
}

void fail(KernelError::Kind kind, Site site, const std::string& text) {
  std::string report = name_of(kind);
  report += ": ";
  if (site.line > 0) {
    report += to_string(site) + ' ';
  }
  throw KernelError(kind, report + where_am_i() + ' ' + text);
}

}  // namespace detail

const char* name_of(KernelError::Kind kind) {
  switch (kind) {
    case KernelError::Kind::illegal_address:
      return "illegal address";
    case KernelError::Kind::race:
      return "race";
    case KernelError::Kind::uninitialised:
      return "uninitialised";
    case KernelError::Kind::barrier:
      return "barrier";
    case KernelError::Kind::collective:
      return "collective";
    case KernelError::Kind::hang:
      return "hang";
    case KernelError::Kind::unsupported:
      return "unsupported";
  }
  return "unknown";
}

const Thread* this_thread() {
  detail::Machine* machine = detail::Machine::running();
  return machine == nullptr ? nullptr : &machine->current()->thread;
}

std::string where_am_i() {
  const Thread* thread = this_thread();
  if (thread == nullptr) {
    return "outside of a launch";
  }
  return "block " + detail::to_string(thread->block) + ' ' + detail::to_string(*thread);
}

}  // namespace pagelab::emu
