// engine/cli/chat_messages.h — a conversation as chat templates want it: a list of messages, with
// the tools that were called and what they returned.
#pragma once
#include <vector>

#include "engine/chat/conversation.h"
#include "engine/core/json.h"

namespace lm::cli {

// [{"role": ..., "content": ..., "tool_calls": ...}, ...]: the system prompt and the current path.
Json chat_messages(const chat::Conversation& conversation);

// Calls at the end of the current path that have no result yet: {"name": ..., "arguments": ...}.
// The next result belongs to the first.
std::vector<Json> open_calls(const chat::Conversation& conversation);

}  // namespace lm::cli
