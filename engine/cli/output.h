// engine/cli/output.h — stdout, which carries the answer and nothing else. Every write is checked:
// a reader that has gone ends the command quietly, a full disk ends it with an error.
#pragma once
#include <string_view>

#include "engine/cli/exit_status.h"

namespace lm::cli {

class Output {
 public:
  explicit Output(int fd = 1) : fd_(fd) {}

  // Writes through, whole, unless an earlier write failed. False when it failed now or before.
  bool write(std::string_view text);
  bool ok() const { return errno_ == 0; }
  bool is_terminal() const;
  // True when the reader of a pipe has gone, seen before anything is written.
  bool reader_gone();

  // How the command ends as far as its output goes: ok, closed_pipe, or failed after one line on
  // stderr.
  ExitStatus finish() const;

 private:
  int fd_;
  int errno_ =
      0;  // of the write that failed; EINTR: a signal came while the reader was not reading
};

}  // namespace lm::cli
