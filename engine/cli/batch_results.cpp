#include "engine/cli/batch_results.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <limits>
#include <span>
#include <utility>

#include "engine/core/hash.h"
#include "engine/core/text.h"

namespace lm::cli {
namespace {

constexpr size_t kMaxResultBytes = 64 << 20;
constexpr std::string_view kResultBegin = R"({"line":)";

Error file_error(ErrorCode code, std::string_view what, const std::string& path) {
  return Error{code,
               concat("cannot ", what, " ", printable(path, 1000), ": ", std::strerror(errno))};
}

}  // namespace

std::string line_digest(const LineReader::Line& line) {
  if (line.too_long) return "";
  return hex(hash128(std::as_bytes(std::span(line.text))));
}

BatchResults BatchResults::to(Output& out) {
  BatchResults results;
  results.out_ = &out;
  return results;
}

BatchResults::BatchResults(BatchResults&& other) noexcept {
  *this = std::move(other);
}

BatchResults& BatchResults::operator=(BatchResults&& other) noexcept {
  std::swap(out_, other.out_);
  std::swap(fd_, other.fd_);
  std::swap(path_, other.path_);
  std::swap(size_, other.size_);
  std::swap(n_lines_, other.n_lines_);
  std::swap(n_failed_, other.n_failed_);
  std::swap(first_failed_, other.first_failed_);
  return *this;
}

BatchResults::~BatchResults() {
  if (fd_ >= 0) close(fd_);
}

Result<BatchResults> BatchResults::resume(const std::string& path, LineReader& input) {
  BatchResults results;
  results.path_ = path;
  results.fd_ = open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (results.fd_ < 0) return file_error(ErrorCode::bad_file, "open", path);
  struct stat info {};
  if (fstat(results.fd_, &info) != 0 || !S_ISREG(info.st_mode)) {
    return Error{ErrorCode::bad_file,
                 concat("expected a regular file for the results, found ", printable(path, 1000))};
  }
  if (flock(results.fd_, LOCK_EX | LOCK_NB) != 0) {
    return Error{ErrorCode::busy, concat("expected ", printable(path, 1000),
                                         " for this run alone: another one is writing to it")};
  }
  LM_TRY(results.read_earlier(input));
  if (results.size_ < uint64_t(info.st_size) && ftruncate(results.fd_, off_t(results.size_)) != 0) {
    return file_error(ErrorCode::io, "repair", path);
  }
  return results;
}

// A last line that no newline ends was torn off: it does not count, and is cut off. That may only
// happen to a result: a file named by mistake keeps what it has.
Status BatchResults::read_earlier(LineReader& input) {
  LineReader kept(fd_, printable(path_, 1000), kMaxResultBytes);
  for (;;) {
    while (std::optional<LineReader::Line> line = kept.next()) {
      const bool is_begun = kResultBegin.starts_with(line->text.substr(0, kResultBegin.size()));
      if (!line->whole && !line->too_long && is_begun) return ok();
      LM_TRY(check(*line, input));
      size_ = kept.bytes_taken();
    }
    if (kept.ended()) return ok();
    LM_TRY(kept.read_more());
  }
}

Status BatchResults::check(const LineReader::Line& kept, LineReader& input) {
  const auto mismatch = [&](std::string_view what) {
    return Error{ErrorCode::bad_file, concat("expected ", printable(path_, 1000),
                                             " to hold results of these prompts, found ", what,
                                             " in its line ", kept.number)};
  };
  const Result<Json> result = parse_json(kept.text);
  if (kept.too_long || !result.ok() || !result.value().is_object())
    return mismatch("something else");
  const std::optional<LineReader::Line> asked = LM_TRY(input.wait_for_line());
  if (!asked) return mismatch("more of them");
  const Json& object = result.value();
  const bool same = object.contains("line") && object["line"] == asked->number &&
                    object.contains("input") && object["input"] == line_digest(*asked);
  if (!same) return mismatch("that of another line");
  count(object);
  return ok();
}

void BatchResults::count(const Json& result) {
  ++n_lines_;
  if (!result.contains("error")) return;
  if (++n_failed_ == 1) first_failed_ = result["line"].get<uint64_t>();
}

Result<bool> BatchResults::write(const Json& result) {
  count(result);
  const std::string line = dump_json(result) + "\n";
  if (out_ != nullptr) return out_->write(line);
  for (std::string_view rest = line; !rest.empty();) {
    const ssize_t n = ::write(fd_, rest.data(), rest.size());
    if (n >= 0) {
      rest.remove_prefix(size_t(n));
    } else if (errno != EINTR && errno != EAGAIN) {
      Error error = file_error(ErrorCode::io, "write to", path_);
      (void)!ftruncate(fd_, off_t(size_));  // whole lines only
      return error;
    }
  }
  size_ += line.size();
  return true;
}

}  // namespace lm::cli
