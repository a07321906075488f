#include "engine/cli/signals.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "engine/cli/exit_status.h"
#include "engine/core/check.h"
#include "engine/core/text.h"

namespace lm::cli {
namespace {

// A signal handler can reach nothing but what has a fixed address: this is the process's state, not
// the program's. Lock-free atomics and write() are all that it touches.
std::atomic<int> noted_signal{0};
std::atomic<bool> holding{false}, bus_error_told{false};
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

// Nothing can be saved here: what was mapped is gone, and every thread may be reading it.
void on_bus_error(int signal_number, siginfo_t* info, void*) {
  if (info->si_code != BUS_ADRERR) {  // not a file's page: a crash, reported as one
    signal(signal_number, SIG_DFL);
    (void)raise(signal_number);
    return;
  }
  constexpr std::string_view kLine =
      "llm: expected an input file to stay as it was, found it cut short or unreadable while it "
      "was "
      "read\n";
  if (bus_error_told.exchange(true)) {  // by another thread, which ends the process
    for (;;) pause();
  }
  (void)!write(STDERR_FILENO, kLine.data(), kLine.size());
  _exit(int(ExitStatus::bad_input));
}

void drain() {
  std::array<char, 256> drained;
  while (read(wake_pipe[0], drained.data(), drained.size()) > 0) {
  }
}

void install_handler(int signal_number) {
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

Status Signals::install() {
  LM_CHECK(wake_pipe[0] == -1);
  if (pipe2(wake_pipe.data(), O_CLOEXEC | O_NONBLOCK) != 0) {
    return Error{ErrorCode::io, concat("cannot open a pipe: ", std::strerror(errno))};
  }
  install_handler(SIGINT);
  install_handler(SIGTERM);
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);
  struct sigaction action {};
  action.sa_sigaction = on_bus_error;
  action.sa_flags = SA_SIGINFO;
  LM_CHECK(sigaction(SIGBUS, &action, nullptr) == 0);
  return ok();
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
  drain();
}

bool Signals::wait_for_input(int fd) {
  std::array<pollfd, 2> watched{pollfd{fd, POLLIN, 0}, pollfd{wake_pipe[0], POLLIN, 0}};
  (void)poll(watched.data(), watched.size(), -1);
  if (watched[1].revents != 0) drain();
  return pending_signal() == 0 && watched[0].revents != 0;
}

void Signals::forget() {
  noted_signal.store(0);
}

}  // namespace lm::cli
