// engine/chat/tree_view.h — a conversation's tree as lines of text.
#pragma once
#include <string>

#include "engine/chat/conversation.h"

namespace lm::chat {

// One line for each message, "* 3 │ assistant: Hello": * marks the path to the current message, and
// only a fork goes further to the right. Ends without a newline.
std::string tree_text(const Conversation& conversation, int columns);

}  // namespace lm::chat
