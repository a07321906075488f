// engine/cli/terminal.h — stderr: warnings, hints and progress. Progress goes to a terminal only.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace lm::cli {

void write_stderr(std::string_view text);  // what can't be written is lost

// "llm: warning: ..." on a line of its own.
void warn(std::string_view message);

bool stderr_is_terminal();

// $TERM names a terminal that does more than print.
bool terminal_is_clever();

class Output;
// Whether colours and cursor control may go there: a clever terminal, no $NO_COLOR.
bool may_style(const Output& out);

// `text` with the control characters that could drive a terminal taken out ('\n' and '\t' stay).
// Written for UTF-8; call it with whole characters.
std::string terminal_safe(std::string_view text);

// "4.1 GiB", "12 KiB", "7 bytes".
std::string human_bytes(uint64_t bytes);

// A bar that grows from left to right on one line, so that it needs no cursor control; where that
// is allowed the line is cleared at the end.
class ProgressBar {
 public:
  ProgressBar(std::string_view doing, std::string_view what, bool enabled);  // "loading", "x.gguf"
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void update(uint64_t done, uint64_t total);

 private:
  std::string title_;
  bool enabled_;
  int drawn_ = -1;  // -1: nothing is on the line yet
};

}  // namespace lm::cli
