#include "engine/cli/exit_status.h"

#include <csignal>

#include "engine/cli/terminal.h"
#include "engine/core/text.h"

namespace lm::cli {

std::span<const ExitMeaning> exit_meanings() {
  static constexpr ExitMeaning kMeanings[] = {
      {"0", "finished"},
      {"1", "something failed while running"},
      {"2", "the command line, a variable or the configuration file is wrong"},
      {"3", "the model or another input file is missing, damaged or unsupported"},
      {"4", "not enough memory"},
      {"5", "the prompt does not fit the context"},
      {"130, 141, 143", "interrupted, the reader of stdout has gone, terminated"}};
  return kMeanings;
}

ExitStatus exit_status_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::bad_file:
    case ErrorCode::unsupported:
      return ExitStatus::bad_input;
    case ErrorCode::bad_request:
      return ExitStatus::usage;
    case ErrorCode::context_full:
      return ExitStatus::context_full;
    case ErrorCode::out_of_memory:
      return ExitStatus::out_of_memory;
    case ErrorCode::cancelled:
      return ExitStatus::interrupted;
    case ErrorCode::busy:
    case ErrorCode::io:
    case ErrorCode::device:
      break;
  }
  return ExitStatus::failed;
}

ExitStatus exit_status_of_signal(int signal_number) {
  return signal_number == SIGTERM ? ExitStatus::terminated : ExitStatus::interrupted;
}

Error with_hint(Error error, std::string_view hint) {
  error.message.append("\n").append(hint);
  return error;
}

ExitStatus report(const Error& error) {
  constexpr size_t kLongest = 2000;  // bytes of a line: messages hold names and paths
  const std::string_view message = error.message;
  const size_t end = message.find('\n');
  std::string lines = concat("llm: ", printable(message.substr(0, end), kLongest), "\n");
  if (end != std::string_view::npos) {
    lines += concat("     ", printable(message.substr(end + 1), kLongest), "\n");
  }
  write_stderr(lines);
  return exit_status_of(error.code);
}

}  // namespace lm::cli
