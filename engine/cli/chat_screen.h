// engine/cli/chat_screen.h — what a chat shows: answers as they come, notices, and a status line.
// Text from the model and from files can't drive the terminal, and colours are left out where they
// are not wanted.
#pragma once
#include <string>
#include <string_view>

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

  void begin_answer();
  void answer_text(std::string_view text);
  void end_answer();

 private:
  std::string dim(std::string_view text) const;

  Output& out_;
  bool styled_;
  bool at_line_start_ = true;
};

}  // namespace lm::cli
