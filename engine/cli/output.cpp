#include "engine/cli/output.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>

#include "engine/cli/signals.h"
#include "engine/core/text.h"

namespace lm::cli {
namespace {

constexpr int kPatienceMs = 50;  // with a reader that takes nothing, after a signal

}  // namespace

bool Output::write(std::string_view text) {
  while (!text.empty() && errno_ == 0) {
    // A full pipe must not hold us once a signal was noted. The signal may interrupt another
    // thread, or come just before a write(): so none is begun that could block. A pipe that is
    // ready takes PIPE_BUF bytes.
    pollfd ready{fd_, POLLOUT, 0};
    const int n_ready = poll(&ready, 1, kPatienceMs);
    if (n_ready == 0 && pending_signal() != 0) errno_ = EINTR;
    if (n_ready <= 0) continue;
    const ssize_t n = ::write(fd_, text.data(), std::min<size_t>(text.size(), PIPE_BUF));
    if (n >= 0) {
      text.remove_prefix(size_t(n));
    } else if (errno != EINTR && errno != EAGAIN && errno != EWOULDBLOCK) {
      errno_ = errno;
    }
  }
  return errno_ == 0;
}

bool Output::is_terminal() const {
  return isatty(fd_) == 1;
}

bool Output::reader_gone() {
  pollfd watched{fd_, 0, 0};
  if (poll(&watched, 1, 0) == 1 && (watched.revents & POLLERR) != 0) errno_ = EPIPE;
  return errno_ == EPIPE;
}

ExitStatus Output::finish() const {
  if (errno_ == 0 || errno_ == EINTR) return ExitStatus::ok;
  if (errno_ == EPIPE) return ExitStatus::closed_pipe;
  return report(Error{ErrorCode::io, concat("cannot write to stdout: ", std::strerror(errno_))});
}

}  // namespace lm::cli
