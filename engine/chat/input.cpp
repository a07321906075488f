#include "engine/chat/input.h"

#include <algorithm>
#include <vector>

#include "engine/core/text.h"

namespace lm::chat {
namespace {

constexpr std::string_view kSpaces = " \t\r\n";

constexpr CommandInfo kCommands[] = {
    {Command::help, "help", "", "these commands, and the keys of the line editor"},
    {Command::system, "system", "[TEXT|-]", "show the system prompt, set it, or remove it (-)"},
    {Command::edit, "edit", "", "change the last question in $EDITOR and ask it again"},
    {Command::undo, "undo", "", "take back the last question and its answer"},
    {Command::regenerate, "regenerate", "", "another answer to the last question"},
    {Command::branch, "branch", "[N]", "the branches of this conversation; go to the end of one"},
    {Command::go_to, "goto", "N", "go on after message N: what follows is another branch"},
    {Command::tree, "tree", "", "all messages with their numbers"},
    {Command::tool, "tool", "[RESULT]",
     "say what a tool that the model called returned; alone: show the call"},
    {Command::save, "save", "FILE", "write the conversation to a file (as Markdown if *.md)"},
    {Command::load, "load", "ID|FILE", "go on with a kept conversation, or with a saved one"},
    {Command::start_new, "new", "", "begin a new conversation"},
    {Command::set, "set", "[NAME VALUE]", "show or change how answers are made"},
    {Command::stats, "stats", "", "tokens, times and memory of this session"},
    {Command::probs, "probs", "[N]", "what else could have come at each token of the last answer"},
    {Command::model, "model", "[FILE]", "show the model, or go on with another one"},
    {Command::file, "file", "PATH", "put a text file before the next question"},
    {Command::image, "image", "PATH", "images are not supported"},
    {Command::quit, "quit", "", "leave (also Ctrl-D)"},
};

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(kSpaces);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpaces) - begin + 1);
}

std::vector<const CommandInfo*> matching(std::string_view word) {
  std::vector<const CommandInfo*> found;
  for (const CommandInfo& info : kCommands) {
    if (info.name == word) return {&info};
    if (info.name.starts_with(word)) found.push_back(&info);
  }
  return found;
}

}  // namespace

std::span<const CommandInfo> commands() {
  return kCommands;
}

Result<Input> parse_input(std::string_view line) {
  if (line.starts_with("//")) return Input{std::nullopt, std::string(line.substr(1))};
  const size_t end = std::min(line.find_first_of(kSpaces), line.size());
  const std::string_view word = line.substr(0, end);
  const bool is_command =
      word.size() > 1 && word[0] == '/' && std::all_of(word.begin() + 1, word.end(), is_letter);
  if (!is_command) return Input{std::nullopt, std::string(line)};
  const std::vector<const CommandInfo*> found = matching(word.substr(1));
  if (found.size() == 1) {
    return Input{found[0]->command, std::string(trimmed(line.substr(end)))};
  }
  return Error{ErrorCode::bad_request,
               concat("expected a command, found \"", printable(word, 40), "\"",
                      found.empty() ? "" : ", which could be several",
                      "; /help lists them, and a message that begins with / is written //")};
}

std::vector<std::string_view> completions(std::string_view line) {
  std::vector<std::string_view> names;
  if (!line.starts_with('/')) return names;
  for (const CommandInfo& info : kCommands) {
    if (info.name.starts_with(line.substr(1))) names.push_back(info.name);
  }
  return names;
}

}  // namespace lm::chat
