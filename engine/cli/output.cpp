#include "engine/cli/output.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "engine/cli/signals.h"
#include "engine/core/text.h"

namespace lm::cli {

bool Output::write(std::string_view text) {
  while (!text.empty() && errno_ == 0) {
    const ssize_t n = ::write(fd_, text.data(), text.size());
    if (n >= 0) {
      text.remove_prefix(size_t(n));
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {  // someone made the pipe non-blocking
      pollfd ready{fd_, POLLOUT, 0};
      (void)poll(&ready, 1, -1);
    } else if (errno != EINTR) {
      errno_ = errno;
    }
    if (!text.empty() && errno_ == 0 && pending_signal() != 0)
      errno_ = EINTR;  // a full pipe must not hold us
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
