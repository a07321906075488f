#include "engine/cli/prompt.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "engine/cli/exit_status.h"
#include "engine/cli/terminal.h"
#include "engine/core/file.h"
#include "engine/core/text.h"

namespace lm::cli {
namespace {

constexpr int kHintAfterMs = 2000;

bool stdin_is_terminal() {
  return isatty(STDIN_FILENO) == 1;
}

// As $(...) does in a shell: the newline that ends a text file is not part of the text.
std::string without_last_newline(std::string text) {
  if (text.ends_with('\n')) text.pop_back();
  if (text.ends_with('\r')) text.pop_back();
  return text;
}

Error nothing_to_read() {
  if (stdin_is_terminal()) {
    return with_hint(Error{ErrorCode::bad_request,
                           "expected a prompt, found none; a chat needs a terminal for its output"},
                     "llm -p \"TEXT\", llm -f FILE or COMMAND | llm give one");
  }
  return with_hint(
      Error{ErrorCode::bad_request, "expected a prompt, found none, and no terminal to ask"},
      "llm -p \"TEXT\", llm -f FILE or COMMAND | llm give one");
}

void append_part(std::string& prompt, bool& any, std::string part) {
  if (any) prompt += "\n\n";
  prompt += part;
  any = true;
}

Result<std::string> prompt_from_stdin(const PromptSources& sources) {
  return without_last_newline(LM_TRY(read_stdin(kMaxPromptBytes, !sources.quiet)));
}

Result<std::string> prompt_from_file(const std::string& path) {
  Result<std::string> text = read_file(path, kMaxPromptBytes);
  if (!text.ok()) return std::move(text).error().within("prompt file");
  return without_last_newline(std::move(text).value());
}

}  // namespace

Result<std::string> read_prompt(const PromptSources& sources) {
  if (sources.names_stdin() && sources.no_stdin) {
    return Error{ErrorCode::bad_request,
                 "expected either \"-\" (the prompt is on stdin) or --no-stdin, found both"};
  }
  std::string prompt;
  bool any = false;
  if (sources.text && *sources.text != "-") append_part(prompt, any, *sources.text);
  if (sources.file && *sources.file != "-") {
    append_part(prompt, any, LM_TRY(prompt_from_file(*sources.file)));
  }
  const bool read = sources.names_stdin() || (!sources.no_stdin && !stdin_is_terminal());
  if (read) {
    std::string input = LM_TRY(prompt_from_stdin(sources));
    if (!input.empty()) append_part(prompt, any, std::move(input));
  }
  if (!any) return nothing_to_read();
  return prompt;
}

Result<std::string> read_stdin(size_t max_bytes, bool hint) {
  std::string text;
  std::vector<char> chunk(1 << 16);
  for (bool told = !hint || !stderr_is_terminal();;) {
    pollfd readable{STDIN_FILENO, POLLIN, 0};
    if (poll(&readable, 1, told ? -1 : kHintAfterMs) == 0) {
      write_stderr(
          "llm: reading stdin until it ends (Ctrl-D ends typed text; --no-stdin does not wait)\n");
      told = true;
      continue;
    }
    const ssize_t n = ::read(STDIN_FILENO, chunk.data(), chunk.size());
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n < 0) {
      const ErrorCode code = errno == EISDIR ? ErrorCode::bad_file : ErrorCode::io;
      return Error{code, concat("cannot read stdin: ", std::strerror(errno))};
    }
    if (n == 0) return text;
    told = true;
    if (text.size() + size_t(n) > max_bytes) {
      return Error{ErrorCode::context_full,
                   concat("expected at most ", human_bytes(max_bytes), " on stdin, found more")};
    }
    text.append(chunk.data(), size_t(n));
  }
}

}  // namespace lm::cli
