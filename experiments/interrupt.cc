#include "experiments/interrupt.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <string_view>

namespace pagelab {

namespace {

// Lock-free atomics are all that a signal handler may share with the program.
std::atomic<bool> deferred{false};
std::atomic<bool> stop_asked{false};
static_assert(std::atomic<bool>::is_always_lock_free);

void say(std::string_view text) {
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text.data(), text.size());
}

void on_signal(int) {
  if (!deferred || stop_asked.exchange(true)) {
    say("\npagelab: stopped\n");
    ::_exit(Interrupt::exit_code);
  }
  say("\npagelab: ending the run after this step; once more stops at once\n");
}

void take_over(int signal) {
  struct sigaction old {};
  ::sigaction(signal, nullptr, &old);
  if (old.sa_handler != SIG_IGN) {
    struct sigaction action {};
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    ::sigemptyset(&action.sa_mask);
    ::sigaction(signal, &action, nullptr);
  }
}

}  // namespace

Interrupt::Interrupt() {
  take_over(SIGINT);
  take_over(SIGTERM);
}

Interrupt::~Interrupt() {
  for (const int signal : {SIGINT, SIGTERM}) {
    struct sigaction ignore {};
    ignore.sa_handler = SIG_IGN;
    ::sigaction(signal, &ignore, nullptr);
  }
}

void Interrupt::defer() {
  deferred = true;
}
void Interrupt::end_at_once() {
  deferred = false;
}
bool Interrupt::requested() const {
  return stop_asked;
}

}  // namespace pagelab
