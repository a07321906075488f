// engine/cli/prompt.h — where a prompt comes from: the command line, a file, stdin, or several of
// them with a blank line between.
#pragma once
#include <cstddef>
#include <optional>
#include <string>

#include "engine/core/result.h"

namespace lm::cli {

struct PromptSources {
  std::optional<std::string> text;  // -p; "-" is stdin
  std::optional<std::string> file;  // -f; "-" is stdin
  bool no_stdin = false;
  bool quiet = false;  // no hint while stdin gives nothing

  bool names_stdin() const { return text == "-" || file == "-"; }
};

inline constexpr size_t kMaxPromptBytes = 64 << 20;  // of one source: no context holds more

// bad_request when there is nothing to read from; context_full when a source never seems to end.
Result<std::string> read_prompt(const PromptSources& sources);

// All of stdin. With `hint`, a terminal is told after 2 s without data what is being waited for.
Result<std::string> read_stdin(size_t max_bytes, bool hint);

}  // namespace lm::cli
