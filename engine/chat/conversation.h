// engine/chat/conversation.h — a conversation as a tree of messages: nothing that was said is ever
// lost, and every question can be asked again another way. The path from the root to the current
// message is what the model sees.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lm::chat {

enum class Role { user, assistant, tool };
std::string_view role_name(Role role);  // "user", "assistant", "tool"

struct Message {
  int id = 0;      // 1, 2, ... in the order in which they were said
  int parent = 0;  // the message that this one follows; 0: it is a first one
  Role role = Role::user;
  std::string content{}, reasoning{};  // reasoning: of an assistant
  std::string finish{};                // of an assistant: "stop", "length", "cancelled", ...
  std::string calls{};  // of an assistant: the tools that it called, a list in JSON, or empty
};

class Conversation {
 public:
  static constexpr int kRoot = 0;  // before the first message

  const std::optional<std::string>& system() const { return system_; }
  void set_system(std::optional<std::string> text) { system_ = std::move(text); }

  // Puts the message (whose id and parent are set here) after the current one, and makes it
  // current.
  const Message& say(Message message);
  // Takes a message that was said before, with its id and parent; false when those can't be. One
  // whose parent was lost follows the message before that.
  bool restore(Message message);

  int current() const { return current_; }
  bool go_to(int id);  // kRoot or a message; false: there is none

  bool empty() const { return messages_.empty(); }
  const std::vector<Message>& messages() const { return messages_; }
  const Message* find(int id) const;  // nullptr: there is none
  std::vector<const Message*> path() const { return path_to(current_); }
  std::vector<const Message*> path_to(int id) const;  // from the first message to this one
  std::vector<int> replies(int id) const;             // what follows it, oldest first
  std::vector<int> tips() const;                      // what nothing follows, oldest first
  // The last message of this role on the path; nullptr: there is none.
  const Message* last(Role role) const;

 private:
  std::vector<Message>::const_iterator first_from(int id) const;  // the first with at least this id

  std::optional<std::string> system_;
  std::vector<Message> messages_;  // by id; some may be missing
  int current_ = kRoot;
};

}  // namespace lm::chat
