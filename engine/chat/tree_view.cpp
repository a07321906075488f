#include "engine/chat/tree_view.h"

#include <algorithm>
#include <map>
#include <vector>

#include "engine/chat/width.h"
#include "engine/core/text.h"

namespace lm::chat {
namespace {

constexpr int kMaxIndent = 20;
constexpr size_t kMaxBytes = 1000;  // of a message that are looked at

struct Entry {
  int id, indent;
};

// Spaces for line breaks, nothing for what is not printable.
std::string on_one_line(std::string_view text) {
  std::string line = printable(text.substr(0, kMaxBytes), kMaxBytes);
  for (size_t i = 0; i < line.size() && i < text.size(); ++i) {
    if (text[i] == '\n' || text[i] == '\t') line[i] = ' ';
  }
  return line;
}

}  // namespace

std::string tree_text(const Conversation& conversation, int columns) {
  std::map<int, std::vector<int>> replies;
  for (const Message& message : conversation.messages()) {
    replies[message.parent].push_back(message.id);
  }
  std::vector<int> current;  // ids, ascending: a message comes after what it follows
  for (const Message* message : conversation.path()) current.push_back(message->id);

  std::string text;
  std::vector<Entry> open{{Conversation::kRoot, 0}};  // depth first, without recursion
  while (!open.empty()) {
    const Entry entry = open.back();
    open.pop_back();
    if (const Message* message = conversation.find(entry.id)) {
      const bool on_path = std::binary_search(current.begin(), current.end(), entry.id);
      if (!text.empty()) text += '\n';
      text += fitted(concat(on_path ? "* " : "  ", entry.id, " ",
                            std::string(size_t(2 * std::min(entry.indent, kMaxIndent)), ' '),
                            role_name(message->role), ": ", on_one_line(message->content)),
                     columns);
    }
    const auto found = replies.find(entry.id);
    if (found == replies.end()) continue;
    const int indent = entry.indent + (found->second.size() > 1 ? 1 : 0);
    for (auto id = found->second.rbegin(); id != found->second.rend(); ++id) {
      open.push_back({*id, indent});
    }
  }
  return text;
}

}  // namespace lm::chat
