// engine/cli/chat.h — the terminal chat: a person asks, the model answers, and both stay on record.
#pragma once
#include <optional>
#include <string>

#include "engine/cli/command.h"
#include "engine/cli/generation_options.h"

namespace lm::cli {

struct ChatOptions {
  bool continue_last = false, no_history = false;

  void declare(Options& options);
};

// Whether there is somebody to talk to: stdin and stdout are terminals.
bool can_chat();

// Talks until the person leaves. `first`: what is asked before anything is typed.
Result<ExitStatus> chat(const Context& context, GenerationOptions generation,
                        const ChatOptions& options, std::optional<std::string> first);

}  // namespace lm::cli
