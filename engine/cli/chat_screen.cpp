#include "engine/cli/chat_screen.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>

#include "engine/cli/terminal.h"
#include "engine/core/text.h"

namespace lm::cli {
namespace {

constexpr int kUsualColumns = 80;
constexpr std::string_view kDim = "\x1b[2m", kPlain = "\x1b[0m";

bool is_set(const char* variable) {
  const char* value = std::getenv(variable);
  return value != nullptr && *value != '\0';
}

bool is_dumb_terminal() {
  const char* term = std::getenv("TERM");
  return term == nullptr || std::string_view(term) == "dumb";
}

}  // namespace

ChatScreen::ChatScreen(Output& out)
    : out_(out), styled_(out.is_terminal() && !is_set("NO_COLOR") && !is_dumb_terminal()) {}

int ChatScreen::columns() const {
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return kUsualColumns;
  return size.ws_col;
}

std::string ChatScreen::dim(std::string_view text) const {
  return styled_ ? concat(kDim, text, kPlain) : std::string(text);
}

void ChatScreen::notice(std::string_view text) {
  out_.write(dim(terminal_safe(text)) + "\n");
}

void ChatScreen::problem(const Error& error) {
  report(error);
}

void ChatScreen::begin_answer() {
  at_line_start_ = true;
}

void ChatScreen::answer_text(std::string_view text) {
  if (text.empty()) return;
  at_line_start_ = text.back() == '\n';
  out_.write(terminal_safe(text));
}

void ChatScreen::end_answer() {
  if (!at_line_start_) out_.write("\n");
}

}  // namespace lm::cli
