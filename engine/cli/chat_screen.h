// engine/cli/chat_screen.h — what a chat shows: answers as they come, notices, and a status line.
// Text from the model and from files can't drive the terminal, and colours are left out where they
// are not wanted.
#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "engine/chat/answer_styler.h"
#include "engine/cli/answer.h"
#include "engine/cli/output.h"

namespace lm::cli {

class ChatScreen {
 public:
  explicit ChatScreen(Output& out);

  int columns() const;  // of the terminal now
  bool styled() const { return styled_; }

  void notice(std::string_view text);        // a line, or several, that the program says
  void problem(const Error& error);          // what went wrong; the chat goes on
  void prompt_ended() { out_.write("\n"); }  // where no Enter ended the typed line

  bool markdown() const { return markdown_; }  // styled; only where there are styles
  void set_markdown(bool styled) { markdown_ = styled; }

  void begin_answer();
  void reasoning_text(std::string_view text);
  void answer_text(std::string_view text);
  void end_answer();

 private:
  std::string dim(std::string_view text) const;

  Output& out_;
  bool styled_;
  bool markdown_ = true;
  std::optional<chat::AnswerStyler> styler_;  // of the answer that is being shown
};

}  // namespace lm::cli
