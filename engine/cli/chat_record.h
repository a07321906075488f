// engine/cli/chat_record.h — the conversation of a chat, kept on disk as it goes. What can't be
// kept is said once; the chat goes on without.
#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "engine/chat/store.h"

namespace lm::cli {

class ChatRecord {
 public:
  explicit ChatRecord(std::optional<chat::Store> store);  // nullopt: nothing is kept

  const chat::Conversation& conversation() const { return conversation_; }
  std::string id() const { return file_ ? file_->id() : std::string(); }  // "": not kept yet

  void say(chat::Message message);
  void set_system(std::optional<std::string> text);
  bool go_to(int id);
  void start_new();  // with the same system prompt

  // Goes on with a kept conversation. The text is what there is to say about it, or empty.
  Result<std::string> open(std::string_view id);
  Result<std::string> open_last();
  // With a file from anywhere: a copy is kept, the file stays as it is.
  Result<std::string> open_file(const std::string& path);
  Status save(const std::string& path) const;

 private:
  void keep(std::string_view lines);

  std::optional<chat::Store> store_;
  std::optional<chat::ConversationFile> file_;  // not before there is something to keep
  chat::Conversation conversation_;
  std::string created_;
};

}  // namespace lm::cli
