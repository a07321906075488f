// engine/cli/chat_session.h — the state of a terminal chat, and what its commands do to it.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/chat/input.h"
#include "engine/cli/asker.h"
#include "engine/cli/chat.h"
#include "engine/cli/chat_record.h"
#include "engine/cli/chat_screen.h"
#include "engine/cli/line_editor.h"
#include "engine/runtime/engine.h"

namespace lm::cli {

class ChatSession {
 public:
  ChatSession(const Context& context, GenerationOptions generation, const ChatOptions& options);

  Status start(const ChatOptions& options);
  ExitStatus talk(std::optional<std::string> first);

 private:
  enum class Next { go_on, leave };

  // chat_session.cpp: the loop
  Status load_model();
  Status start_engine();
  std::optional<std::string> read_message();  // nullopt: the person leaves; see status_
  std::optional<std::string> read_quoted(std::string text);
  Next handle(const std::string& line);
  void ask(std::string question);
  void answer();
  void show_calls();
  void show_status(const AnswerEnd& end);

  // chat_commands.cpp: everything that begins with a slash
  Next run(const chat::Input& input);
  void help();
  void system(const std::string& text);
  void edit();
  void undo();
  void regenerate();
  void branch(const std::string& number);
  void go_to(const std::string& number);
  void tree();
  void tool(const std::string& result);
  void save(const std::string& path);
  void load(const std::string& name);
  void set(const std::string& assignment);
  Status set_value(const std::string& name, const std::string& value);
  void stats();
  void probs(const std::string& number);
  void model(const std::string& path);
  void attach(const std::string& path);
  void show_position();

  const Context& context_;
  GenerationOptions generation_;
  ChatScreen screen_;
  ChatRecord record_;
  std::unique_ptr<LineEditor> editor_;
  std::unique_ptr<Engine> engine_;
  std::string memory_text_;  // what the model at hand takes besides its weights
  std::optional<Asker> asker_;
  std::string attached_;  // files that go before the next question
  std::vector<AnswerPiece> last_answer_;
  Timings total_;
  int n_answers_ = 0;
  ExitStatus status_ = ExitStatus::ok;
};

}  // namespace lm::cli
