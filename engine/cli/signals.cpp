#include "engine/cli/signals.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>

#include "engine/core/check.h"

namespace lm::cli {
namespace {

// A signal handler can reach nothing but what has a fixed address: this is the process's state, not
// the program's. Lock-free atomics and write() are all that it touches.
std::atomic<int> noted_signal{0};
std::atomic<bool> holding{false};
std::array<int, 2> wake_pipe{-1, -1};  // read end, write end
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<bool>::is_always_lock_free);

void on_signal(int signal_number) {
  const int saved = errno;
  if (!holding.load() || noted_signal.exchange(signal_number) != 0) {
    if (isatty(STDERR_FILENO) == 1) (void)!write(STDERR_FILENO, "\n", 1);  // after the echoed ^C
    _exit(128 + signal_number);
  }
  (void)!write(wake_pipe[1], "s", 1);
  errno = saved;
}

void install(int signal_number) {
  struct sigaction action {};
  if (sigaction(signal_number, nullptr, &action) == 0 && action.sa_handler == SIG_IGN) return;
  action = {};
  action.sa_handler = on_signal;  // no SA_RESTART: a blocked write must return
  LM_CHECK(sigaction(signal_number, &action, nullptr) == 0);
}

}  // namespace

int pending_signal() {
  return noted_signal.load();
}

Signals::Signals() {
  LM_CHECK(wake_pipe[0] == -1);
  LM_CHECK(pipe2(wake_pipe.data(), O_CLOEXEC | O_NONBLOCK) == 0);
  install(SIGINT);
  install(SIGTERM);
  signal(SIGPIPE, SIG_IGN);
}

void Signals::hold() {
  holding.store(true);
}

void Signals::wake() {
  (void)!write(wake_pipe[1], "w", 1);
}  // a full pipe wakes just as well

void Signals::wait() {
  pollfd readable{wake_pipe[0], POLLIN, 0};
  (void)poll(&readable, 1, -1);
  std::array<char, 256> drained;
  while (read(wake_pipe[0], drained.data(), drained.size()) > 0) {
  }
}

}  // namespace lm::cli
