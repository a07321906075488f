// engine/cli/signals.h — Ctrl-C and termination. As long as there is nothing to keep, a signal ends
// the process at once with 128 + its number. Once an answer is under way the first signal is noted
// and wakes the waiting thread; a second one ends the process.
#pragma once

#include "engine/core/result.h"

namespace lm::cli {

// The signal that was noted, 0 while there is none.
int pending_signal();

class Signals {
 public:
  // Installs the handlers, once per process. Signals that the parent ignores (nohup, a script's
  // background job) stay ignored; SIGPIPE and SIGXFSZ become errors of write(). SIGBUS, which a
  // mapped file sends when somebody cuts it short, becomes an error line and status 3.
  Status install();

  void hold();  // from now on signals are noted

  // Ends a wait(), now or the next one. Any thread.
  void wake();
  // Returns after a wake() or a signal.
  void wait();
  // Returns true when `fd` can be read (or has ended), false after a wake() or a signal.
  bool wait_for_input(int fd);

  // The noted signal was answered: the next one is a first one again.
  void forget();
};

}  // namespace lm::cli
