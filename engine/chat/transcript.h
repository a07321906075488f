// engine/chat/transcript.h — a conversation as lines of JSON, one for each thing that happened, so
// that keeping it is appending to a file. Reading survives any damage: what can't be understood is
// left out and counted.
#pragma once
#include <string>
#include <string_view>

#include "engine/chat/conversation.h"
#include "engine/core/result.h"

namespace lm::chat {

// Each ends with a newline.
std::string header_line(std::string_view created);  // "2026-01-31 12:00:00"
std::string message_line(const Message& message);
std::string system_line(const std::optional<std::string>& text);
std::string position_line(int id);  // the conversation goes on after this message

// All that follows the header of this conversation.
std::string body_lines(const Conversation& conversation);

struct Transcript {
  Conversation conversation;
  std::string created;
  int damaged_lines = 0;
  int first_damaged = 0;   // the number of the first of them, from 1
  size_t whole_bytes = 0;  // up to the last newline; what follows was cut off while being written
};
// bad_file when the first line is not our header.
Result<Transcript> read_transcript(std::string_view text);

// The conversation's path for people, as Markdown.
std::string as_markdown(const Conversation& conversation);

}  // namespace lm::chat
