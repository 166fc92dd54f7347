// Interrupt: what Ctrl-C (SIGINT) and SIGTERM do. While nothing is worth keeping the first one ends the
// program; while a run goes on the first one only asks the run to end after its step, and the second one ends
// the program at once. Either way the exit code is 130. There is one of it, since signals are the process's;
// when it goes the program's work is done and its exit code decided, and no signal changes that any more.
#pragma once

namespace pagelab {

class Interrupt {
 public:
  static constexpr int exit_code = 130;

  /// Takes over both signals, unless the program was started with them ignored. They end the program.
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  /// From now on the first signal is a request; see requested().
  void defer();
  /// From now on signals end the program again.
  void end_at_once();
  bool requested() const;
};

}  // namespace pagelab
