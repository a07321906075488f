#include "engine/cli/line_reader.h"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "engine/core/text.h"

namespace lm::cli {

LineReader::LineReader(int fd, std::string name, size_t max_bytes)
    : fd_(fd), name_(std::move(name)), max_bytes_(max_bytes) {}

std::optional<LineReader::Line> LineReader::next() {
  const size_t newline = buffer_.find('\n', begin_ + scanned_);
  if (newline != std::string::npos) return take(newline - begin_, true);
  scanned_ = buffer_.size() - begin_;
  if (scanned_ > max_bytes_) {
    skipped_ += scanned_;
    buffer_.clear();
    begin_ = scanned_ = 0;
  }
  if (ended_ && (scanned_ > 0 || skipped_ > 0)) return take(scanned_, false);
  return std::nullopt;
}

std::optional<LineReader::Line> LineReader::take(size_t length, bool whole) {
  Line line{.number = ++number_,
            .text = {},
            .too_long = skipped_ > 0 || length > max_bytes_,
            .whole = whole};
  if (!line.too_long) line.text = buffer_.substr(begin_, length);
  taken_ += skipped_ + length + (whole ? 1 : 0);
  begin_ += length + (whole ? 1 : 0);
  scanned_ = 0;
  skipped_ = 0;
  return line;
}

Status LineReader::read_more() {
  buffer_.erase(0, std::exchange(begin_, 0));
  std::array<char, 1 << 16> chunk;
  ssize_t n = -1;
  do {
    n = ::read(fd_, chunk.data(), chunk.size());
  } while (n < 0 && errno == EINTR);
  if (n < 0 && errno == EAGAIN) return ok();
  if (n < 0) {
    const ErrorCode code = errno == EISDIR ? ErrorCode::bad_file : ErrorCode::io;
    return Error{code, concat("cannot read ", name_, ": ", std::strerror(errno))};
  }
  ended_ = n == 0;
  buffer_.append(chunk.data(), size_t(n));
  return ok();
}

Result<std::optional<LineReader::Line>> LineReader::wait_for_line() {
  for (;;) {
    std::optional<Line> line = next();
    if (line && (line->too_long || !is_blank(line->text))) return line;
    if (line) continue;
    if (ended_) return std::optional<Line>();
    pollfd readable{fd_, POLLIN, 0};  // reading waits for nothing where O_NONBLOCK is set
    (void)poll(&readable, 1, -1);
    LM_TRY(read_more());
  }
}

bool is_blank(const std::string& line) {
  return line.find_first_not_of(" \t\r") == std::string::npos;
}

}  // namespace lm::cli
