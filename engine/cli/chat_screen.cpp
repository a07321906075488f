#include "engine/cli/chat_screen.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include "engine/cli/terminal.h"
#include "engine/core/text.h"

namespace lm::cli {
namespace {

constexpr int kUsualColumns = 80;
constexpr std::string_view kDim = "\x1b[2m", kPlain = "\x1b[0m";

}  // namespace

ChatScreen::ChatScreen(Output& out) : out_(out), styled_(may_style(out)) {}

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
  styler_.emplace(styled_, styled_ && markdown_);
}

void ChatScreen::reasoning_text(std::string_view text) {
  if (text.empty() || !styler_) return;
  styler_->set_columns(columns());
  out_.write(styler_->reasoning(terminal_safe(text)));
}

void ChatScreen::answer_text(std::string_view text) {
  if (text.empty() || !styler_) return;
  styler_->set_columns(columns());
  out_.write(styler_->answer(terminal_safe(text)));
}

void ChatScreen::end_answer() {
  if (styler_) out_.write(styler_->finish());
  styler_.reset();
}

}  // namespace lm::cli
