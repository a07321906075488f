// engine/chat/input.h — what a line of the chat means: something to say, or a command.
#pragma once
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/result.h"

namespace lm::chat {

enum class Command {
  help,
  system,
  edit,
  undo,
  regenerate,
  branch,
  go_to,
  tree,
  tool,
  save,
  load,
  start_new,
  set,
  stats,
  probs,
  model,
  file,
  image,
  quit
};

struct CommandInfo {
  Command command;
  std::string_view name;      // "goto"
  std::string_view argument;  // "N", "" when it takes none
  std::string_view summary;   // one line of /help
};
std::span<const CommandInfo> commands();  // in the order of /help

struct Input {
  std::optional<Command> command;  // nullopt: text is to be said
  std::string text;                // or the command's argument, without spaces around it
};

// A command is a slash and letters, as many of them as make clear which; "//" begins a message with
// one slash; a path such as "/usr/bin" is a message. bad_request: there is no such command.
Result<Input> parse_input(std::string_view line);

// What could stand in place of an unfinished "/wo": the names that begin so, without the slash.
std::vector<std::string_view> completions(std::string_view line);

}  // namespace lm::chat
