// What a person sees while typing: the chat in a pseudo-terminal, through a small terminal
// emulator.
#include "tests/cli/chat_home.h"
#include "tests/cli/screen.h"

namespace lm::test {
namespace {

constexpr std::string_view kLeft = "\x1b[D", kRight = "\x1b[C", kHome = "\x01", kEnd = "\x05",
                           kBackspace = "\x7f";

// Reads until the line of the cursor shows this text, with the cursor there.
void expect_line(Process& chat, int columns, std::string_view text, int cursor) {
  for (int i = 0;; ++i) {
    Screen screen(24, columns);
    screen.feed(chat.out());
    if (screen.line(screen.row()) == text && screen.column() == cursor) return;
    INFO("the screen:\n" << screen.all() << "\ncursor at " << screen.column());
    REQUIRE(i < 2000);
    chat.pump(0.005);
  }
}

std::string keys(std::string_view key, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) all += key;
  return all;
}

TEST_CASE("screen: wide characters, emoji and accents are edited where they are seen") {
  const Home home;
  Process chat(home.setup({"-n", "1", "-q"}));
  chat.resize_terminal(24, 60);
  REQUIRE(chat.expect(kPrompt));
  chat.type("漢字abc");
  expect_line(chat, 60, "> 漢字abc", 2 + 4 + 3);
  chat.type(keys(kLeft, 3) + "X");
  expect_line(chat, 60, "> 漢字Xabc", 2 + 4 + 1);
  chat.type(keys(kBackspace, 2));
  expect_line(chat, 60, "> 漢abc", 2 + 2);
  chat.type(std::string(kHome) + "😀");
  expect_line(chat, 60, "> 😀漢abc", 2 + 2);
  chat.type(std::string(kRight) + "é");
  expect_line(chat, 60, "> 😀漢éabc", 2 + 2 + 2 + 1);
  chat.type(std::string(kEnd) + "\x15");  // Ctrl-U: away with it
  expect_line(chat, 60, ">", 2);
  chat.type("한국어 ok\r");
  leave(chat);
  CHECK(questions(home.kept()) == std::vector<std::string>{"한국어 ok"});
}

TEST_CASE("screen: a line longer than the terminal, and a terminal that changes its size") {
  const Home home;
  Process chat(home.setup({"-n", "1", "-q"}));
  chat.resize_terminal(24, 30);
  REQUIRE(chat.expect(kPrompt));
  const std::string words = "0123456789abcdefghijklmnopqrstuvwxyz";
  chat.type(words);
  expect_line(chat, 30, words.substr(28), 36 - 28);
  chat.type(kHome);
  expect_line(chat, 30, "> " + words.substr(0, 28), 2);
  chat.type(std::string(kEnd) + "!");
  expect_line(chat, 30, words.substr(28) + "!", 36 - 28 + 1);
  chat.resize_terminal(24, 50);
  chat.type("?");
  REQUIRE(chat.expect("?"));
  chat.type("\r");
  leave(chat);
  CHECK(questions(home.kept()) == std::vector<std::string>{words + "!?"});
}

TEST_CASE("screen: history, search and completion") {
  const Home home;
  Process chat(home.setup({"-n", "1", "-q"}));
  chat.resize_terminal(24, 60);
  for (const char* text : {"first words", "second thoughts"}) ask(chat, text);
  REQUIRE(chat.expect(kPrompt));
  chat.type("\x1b[A");
  REQUIRE(chat.expect("second thoughts"));
  chat.type("\x1b[A");
  REQUIRE(chat.expect("first"));
  chat.type("\x15/regen\t");
  REQUIRE(chat.expect("erate "));
  chat.type("\x15\r");
  REQUIRE(chat.expect(kPrompt));
  chat.type("\x12ond");  // Ctrl-R
  REQUIRE(chat.expect("second thoughts"));
  chat.type("\r");
  leave(chat);
  CHECK(questions(home.kept()) ==
        std::vector<std::string>{"first words", "second thoughts", "second thoughts"});
}

TEST_CASE("screen: a dumb terminal gets no escape sequences") {
  const Home home;
  Setup setup = home.setup({"-n", "2"});
  setup.env.push_back("TERM=dumb");  // the last one counts
  Process chat(setup);
  REQUIRE(chat.expect("> "));
  chat.type("hello\r");
  REQUIRE(chat.expect("tokens/s"));
  REQUIRE(chat.expect("> "));
  chat.type("/quit\r");
  const Finished finished = chat.finish();
  CHECK(finished.status == 0);
  CHECK(finished.out.find('\x1b') == std::string::npos);
}

TEST_CASE("screen: an idle chat uses no processor time") {
  const Home home;
  Process chat(home.setup({"-n", "2", "-t", "2"}));
  ask(chat, "hello");
  REQUIRE(chat.expect("tokens/s"));
  REQUIRE(chat.expect(kPrompt));
  chat.pump(0.05);  // the last of the answer's work
  const uint64_t before = chat.processor_ticks();
  chat.pump(0.5);
  CHECK(chat.processor_ticks() <= before + 1);  // a tick is 10 ms
  chat.type("/quit\r");
  CHECK(chat.finish().status == 0);
}

}  // namespace
}  // namespace lm::test
