// Commands and messages.
#include "engine/chat/input.h"

#include "tests/support/support.h"

namespace lm::chat {
namespace {

TEST_CASE("input: a message is what it is") {
  for (const char* text :
       {"hello", " /help", "/", "/usr/bin is a path", "/1", "a /quit", "", "/é"}) {
    const Input input = test::require_ok(parse_input(text));
    CHECK_FALSE(input.command.has_value());
    CHECK(input.text == text);
  }
  CHECK(test::require_ok(parse_input("//help")).text == "/help");
}

TEST_CASE("input: commands, by as many letters as it takes") {
  for (const CommandInfo& info : commands()) {
    const Input input = test::require_ok(parse_input("/" + std::string(info.name) + "  a b \n"));
    CHECK(input.command == info.command);
    CHECK(input.text == "a b");
  }
  CHECK(test::require_ok(parse_input("/reg")).command == Command::regenerate);
  CHECK(test::require_ok(parse_input("/q")).command == Command::quit);
  CHECK(test::require_ok(parse_input("/set")).command == Command::set);
  CHECK(parse_input("/s").error().message.find("several") != std::string::npos);
  CHECK(parse_input("/nonsense").error().message.find("/help") != std::string::npos);
  CHECK_FALSE(parse_input("/HELP").ok());
}

TEST_CASE("input: completions of an unfinished command") {
  CHECK(completions("/ed") == std::vector<std::string_view>{"edit"});
  CHECK(completions("/un").size() == 1);
  CHECK(completions("/").size() == commands().size());
  CHECK(completions("/s").size() == 4);
  CHECK(completions("ed").empty());
  CHECK(completions("").empty());
}

}  // namespace
}  // namespace lm::chat
