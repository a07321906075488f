#include "engine/chat/conversation.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <utility>

namespace lm::chat {

std::string_view role_name(Role role) {
  switch (role) {
    case Role::user:
      return "user";
    case Role::assistant:
      return "assistant";
    case Role::tool:
      break;
  }
  return "tool";
}

const Message& Conversation::say(Message message) {
  message.id = messages_.empty() ? 1 : messages_.back().id + 1;
  message.parent = current_;
  current_ = message.id;
  return messages_.emplace_back(std::move(message));
}

bool Conversation::restore(Message message) {
  const int last = messages_.empty() ? kRoot : messages_.back().id;
  const bool fits = message.id > last && message.id < std::numeric_limits<int>::max() &&
                    message.parent >= kRoot && message.parent < message.id;
  if (!fits) return false;
  const auto after = first_from(message.parent + 1);
  message.parent = after == messages_.begin() ? kRoot : std::prev(after)->id;
  current_ = message.id;
  messages_.push_back(std::move(message));
  return true;
}

std::vector<Message>::const_iterator Conversation::first_from(int id) const {
  return std::partition_point(messages_.begin(), messages_.end(),
                              [id](const Message& message) { return message.id < id; });
}

bool Conversation::go_to(int id) {
  if (id != kRoot && find(id) == nullptr) return false;
  current_ = id;
  return true;
}

const Message* Conversation::find(int id) const {
  const auto found = first_from(id);
  return found != messages_.end() && found->id == id ? &*found : nullptr;
}

std::vector<const Message*> Conversation::path_to(int id) const {
  std::vector<const Message*> path;
  for (const Message* m = find(id); m != nullptr; m = find(m->parent)) path.push_back(m);
  std::reverse(path.begin(), path.end());
  return path;
}

std::vector<int> Conversation::replies(int id) const {
  std::vector<int> found;
  for (const Message& message : messages_) {
    if (message.parent == id) found.push_back(message.id);
  }
  return found;
}

std::vector<int> Conversation::tips() const {
  std::vector<int> followed;
  for (const Message& message : messages_) followed.push_back(message.parent);
  std::sort(followed.begin(), followed.end());
  std::vector<int> found;
  for (const Message& message : messages_) {
    if (!std::binary_search(followed.begin(), followed.end(), message.id))
      found.push_back(message.id);
  }
  return found;
}

const Message* Conversation::last(Role role) const {
  const Message* m = find(current_);
  while (m != nullptr && m->role != role) m = find(m->parent);
  return m;
}

}  // namespace lm::chat
