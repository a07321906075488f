// engine/cli/exit_status.h — the one place that says what a number given back to the shell means,
// and how an error looks: one line on stderr, and a second one where it helps.
#pragma once
#include <span>
#include <string_view>

#include "engine/core/result.h"

namespace lm::cli {

enum class ExitStatus : int {
  ok = 0,
  failed = 1,     // while running
  usage = 2,      // the command line is wrong
  bad_input = 3,  // the model or another input file is missing, damaged or unsupported
  out_of_memory = 4,
  context_full = 5,   // the prompt does not fit
  interrupted = 130,  // 128 + SIGINT
  closed_pipe = 141,  // 128 + SIGPIPE
  terminated = 143,   // 128 + SIGTERM
};

// The table of --help and of the manual.
struct ExitMeaning {
  std::string_view status, meaning;
};
std::span<const ExitMeaning> exit_meanings();

ExitStatus exit_status_of(ErrorCode code);
ExitStatus exit_status_of_signal(int signal_number);  // SIGINT or SIGTERM

// The error with a second line that says what to do about it.
Error with_hint(Error error, std::string_view hint);

// Writes "llm: <message>" (and the hint) on stderr; control characters are made harmless.
ExitStatus report(const Error& error);

}  // namespace lm::cli
