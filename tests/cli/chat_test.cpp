// The terminal chat as a person meets it: the real program in a pseudo-terminal.
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>

#include "engine/chat/transcript.h"
#include "engine/core/file.h"
#include "tests/cli/chat_home.h"
#include "tests/cli/marked_model.h"
#include "tests/cli/process.h"

namespace lm::test {
namespace {

TEST_CASE("chat: asks, answers, keeps, and leaves by Ctrl-D") {
  const Home home;
  Process chat(home.setup({"-n", "5"}));
  ask(chat, "hello there");
  REQUIRE(chat.expect("tokens/s"));
  REQUIRE(chat.expect(kPrompt));
  chat.type("\x04");
  CHECK(chat.finish().status == 0);
  const chat::Conversation kept = home.kept();
  REQUIRE(kept.path().size() == 2);
  CHECK(kept.path()[0]->content == "hello there");
  CHECK(kept.path()[1]->finish == "length");
  struct stat info {};
  REQUIRE(stat(home.chats().c_str(), &info) == 0);
  CHECK((info.st_mode & 0777) == 0700);
  for (const auto& entry : std::filesystem::directory_iterator(home.chats())) {
    REQUIRE(stat(entry.path().c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);
  }
}

TEST_CASE("chat: typing is edited: backspace, arrows, words, history, UTF-8") {
  const Home home;
  Process chat(home.setup({"-n", "1"}));
  ask(chat, "helxx\x7f\x7flo w\xC3\xB6rld \xE6\xBC\xA2\xE5\xAD\x97\x7f!");
  REQUIRE(chat.expect("tokens/s"));
  ask(chat,
      "bc\x01"
      "a\x05"
      "d\x1b[D\x1b[DX");  // to the start, to the end, twice left
  REQUIRE(chat.expect("tokens/s"));
  ask(chat, "\x1b[A\x1b[A again");  // up, up
  REQUIRE(chat.expect("tokens/s"));
  leave(chat);
  CHECK(questions(home.kept()) ==
        std::vector<std::string>{"hello w\xC3\xB6rld \xE6\xBC\xA2!", "abXcd",
                                 "hello w\xC3\xB6rld \xE6\xBC\xA2! again"});
}

TEST_CASE("chat: several lines, by quotes, by Alt-Enter and pasted") {
  const Home home;
  Process chat(home.setup({"-n", "1"}));
  ask(chat, "\"\"\"one");
  REQUIRE(chat.expect("\xE2\x80\xA6 "));
  chat.type("two\r");
  REQUIRE(chat.expect("\xE2\x80\xA6 "));
  chat.type("three\"\"\"\r");
  REQUIRE(chat.expect("tokens/s"));
  ask(chat, "a\x1b\rb");
  REQUIRE(chat.expect("tokens/s"));
  // Control characters of a paste are no keys: no line ends, nothing is interrupted or completed.
  ask(chat,
      "x \x1b[200~/quit\r\x03\x04"
      "p\ty\x1b[201~ z");
  REQUIRE(chat.expect("tokens/s"));
  leave(chat);
  CHECK(questions(home.kept()) ==
        std::vector<std::string>{"one\ntwo\nthree", "a\nb", "x /quit\np\ty z"});
}

TEST_CASE("chat: Ctrl-C stops an answer, and twice leaves") {
  const Home home;
  Process chat(home.setup({"--ctx", "100000", "--ignore-eos"}));
  ask(chat, "talk");
  REQUIRE(chat.expect("\x1b[?2004l"));
  REQUIRE(chat.expect_more());
  chat.type("\x03");
  REQUIRE(chat.expect("; stopped"));
  REQUIRE(chat.expect(kPrompt));
  chat.type("half\x03");  // what was typed goes
  REQUIRE(chat.expect("again leaves"));
  REQUIRE(chat.expect(kPrompt));
  chat.type("\x03");
  CHECK(chat.finish().status == 130);
}

TEST_CASE("chat: undo, branches, and going on after kill -9") {
  const Home home;
  {
    Process chat(home.setup({"-n", "3"}));
    ask(chat, "first");
    REQUIRE(chat.expect("tokens/s"));
    ask(chat, "second");
    REQUIRE(chat.expect("tokens/s"));
    ask(chat, "/undo");
    REQUIRE(chat.expect("took back: second"));
    ask(chat, "third");
    REQUIRE(chat.expect("tokens/s"));
    ask(chat, "/regenerate");
    REQUIRE(chat.expect("tokens/s"));
    REQUIRE(chat.expect(kPrompt));
    chat.send(SIGKILL);
    CHECK(chat.finish().status == -SIGKILL);
  }
  CHECK(questions(home.kept()) == std::vector<std::string>{"first", "third"});
  CHECK(home.kept().tips().size() == 3);
  Process chat(home.setup({"-n", "3", "-c"}));
  REQUIRE(chat.expect("third"));
  ask(chat, "/tree");
  REQUIRE(chat.expect("user: second"));
  ask(chat, "/branch 1");
  REQUIRE(chat.expect("second"));
  ask(chat, "fourth");
  REQUIRE(chat.expect("tokens/s"));
  ask(chat, "/goto 2");
  ask(chat, "fifth");
  REQUIRE(chat.expect("tokens/s"));
  leave(chat);
  CHECK(questions(home.kept()) == std::vector<std::string>{"first", "fifth"});
  CHECK(home.kept().messages().size() == 11);
}

TEST_CASE("chat: -c and /load go on with what the disk has of a conversation") {
  const Home home;
  const std::string saved = (home.folder.path() / "saved.jsonl").string();
  const auto setup = [&](std::vector<std::string> args) {
    Setup with_cache = home.setup(std::move(args));
    std::erase(with_cache.args, "--no-disk-cache");
    with_cache.args.insert(with_cache.args.end(),
                           {"--cache-dir", (home.folder.path() / "cache").string()});
    return with_cache;
  };
  {
    Process chat(setup({"-n", "4"}));
    ask(chat, "the first question");
    REQUIRE(chat.expect("tokens/s"));
    ask(chat, "/save " + saved);
    REQUIRE(chat.expect("saved as"));
    leave(chat);
  }
  {
    Process chat(setup({"-n", "4", "-c"}));
    REQUIRE(chat.expect("the first question"));
    ask(chat, "the second");
    REQUIRE(chat.expect("tokens of it from the cache"));
    leave(chat);
  }
  Process chat(setup({"-n", "4"}));
  ask(chat, "/load " + saved);
  REQUIRE(chat.expect("the first question"));
  ask(chat, "another second");
  REQUIRE(chat.expect("tokens of it from the cache"));
  leave(chat);
}

TEST_CASE("chat: kill -9 in the middle of an answer loses only that") {
  const Home home;
  {
    Process chat(home.setup({"--ctx", "100000", "--ignore-eos"}));
    ask(chat, "endless");
    REQUIRE(chat.expect("\x1b[?2004l"));
    REQUIRE(chat.expect_more());
    chat.send(SIGKILL);
    chat.finish();
  }
  REQUIRE(home.kept().messages().size() == 1);
  CHECK(home.kept().messages()[0].content == "endless");
  Process chat(home.setup({"-n", "1", "-c"}));
  ask(chat, "/goto 1");
  ask(chat, "/regenerate");
  REQUIRE(chat.expect("tokens/s"));
  leave(chat);
  CHECK(home.kept().path().size() == 2);
}

TEST_CASE("chat: commands say what they did, and what they can't do") {
  const Home home;
  Process chat(home.setup({"-n", "2"}));
  const auto says = [&](std::string_view command, std::string_view text) {
    ask(chat, command);
    CHECK_MESSAGE(chat.expect(text), command);
  };
  says("/help", "/regenerate");
  says("/undo", "nothing to take back");
  says("/regenerate", "no question");
  says("/probs", "no answer yet");
  says("/tree", "no messages yet");
  says("/branch", "no messages yet");
  says("/nonsense", "/help lists them");
  says("/image cat.png", "not supported");
  says("/set temp 99999", "from 0 to 100");
  says("/set nothing 1", "/set lists");
  ask(chat, "/set temp=0");
  says("/set", "temp 0");
  ask(chat, "/system Be brief.");
  says("/system", "system prompt: Be brief.");
  says("//slash", "tokens/s");
  says("/probs 2", " %");
  says("/stats", "from the cache");
  says("/goto 99", "/tree");
  says("/file /no/such/file", "cannot open");
  says("/load /no/such/file", "cannot open");
  says("/load 12345", "kept conversations");
  says("/model /no/such.gguf", "cannot open");
  says("/model", "context 600");
  const std::string saved = (home.folder.path() / "saved.jsonl").string();
  says("/save " + saved, "saved as");
  says("/new", "a new conversation");
  says("/load " + saved, "/slash");
  says("/model " + home.model, "now answering");
  leave(chat);
  CHECK(require_ok(read_file(saved, 1 << 20)).find("Be brief.") != std::string::npos);
}

TEST_CASE("chat: a call of a tool is shown, and /tool gives its result") {
  Home home;
  const Marked model(
      "{% for m in messages %}[{{ m.role }}{{ m.tool_call_id if m.tool_call_id }}]{{ m.content }}"
      "{% for c in m.tool_calls or [] %}{{ c.id }}{{ c.function.name }}"
      "{{ c.function.arguments|tojson }}{% endfor %}{% endfor %}"
      "{{ tools[0].name }}{# <tool_call> #}",
      {R"(<tool_call>{"name":"add","arguments":{"a":[1,2]}}</tool_call>)"});
  home.model = model.path;
  const std::string tools = write_file(home.folder, "tools.json", R"([{"name":"add"}])");
  Process chat(home.setup({"-n", "1", "--tools", tools, "--logit-bias", model.bias()}));
  ask(chat, "/tool 3");
  REQUIRE(chat.expect("no tool was called"));
  ask(chat, "one and two?");
  REQUIRE(chat.expect("calls add {\"a\":[1,2]}"));
  REQUIRE(chat.expect("/tool RESULT"));
  ask(chat, "/tool");
  REQUIRE(chat.expect("calls add"));
  ask(chat, "/tool 3");
  REQUIRE(chat.expect("calls add"));
  REQUIRE(chat.expect("tokens/s"));
  ask(chat, "/tree");
  REQUIRE(chat.expect("tool: 3"));
  ask(chat, "/undo");
  REQUIRE(chat.expect("took back: one and two?"));
  ask(chat, "/goto 2");
  REQUIRE(chat.expect("calls add"));
  leave(chat);
  const chat::Conversation kept = home.kept();
  REQUIRE(kept.messages().size() == 4);
  CHECK(kept.messages()[1].calls == R"([{"name":"add","arguments":{"a":[1,2]},"complete":true}])");
  CHECK(kept.messages()[2].role == chat::Role::tool);
  CHECK(kept.messages()[2].content == "3");
}

TEST_CASE("chat: a file goes before the next question, an editor changes the last one") {
  const Home home;
  const std::string notes = (home.folder.path() / "notes.txt").string();
  std::ofstream(notes) << "the notes\n";
  Setup setup = home.setup({"-n", "1"});
  setup.env.push_back("EDITOR=sed -i s/summarise/shorten/");
  Process chat(setup);
  ask(chat, "/file " + notes);
  REQUIRE(chat.expect("go before the next question"));
  ask(chat, "summarise");
  REQUIRE(chat.expect("tokens/s"));
  ask(chat, "/edit");
  REQUIRE(chat.expect("tokens/s"));
  leave(chat);
  const std::vector<std::string> asked = questions(home.kept());
  REQUIRE(asked.size() == 1);
  CHECK(asked[0] == notes + ":\nthe notes\n\n\nshorten");
}

TEST_CASE("chat: another width is respected, styles are left out under NO_COLOR") {
  const Home home;
  Setup setup = home.setup({"-n", "2"});
  setup.env.push_back("NO_COLOR=1");
  Process chat(setup);
  REQUIRE(chat.expect("> "));
  chat.resize_terminal(24, 30);
  chat.type("a question that is longer than thirty columns\r");
  REQUIRE(chat.expect("tokens/s"));
  REQUIRE(chat.expect("> "));
  chat.type("/tree\r");
  REQUIRE(chat.expect("* 1 user: a question that is\xE2\x80\xA6"));
  CHECK(chat.out().find("\x1b[2m") == std::string::npos);
  REQUIRE(chat.expect("> "));
  chat.type("/quit\r");
  CHECK(chat.finish().status == 0);
}

TEST_CASE("chat: damaged conversations are one line, and nothing else") {
  const Home home;
  std::filesystem::create_directories(home.chats());
  std::ofstream(home.chats() / "20200101-000000.jsonl") << "garbage\n";
  Setup setup = home.setup({"-c"});
  setup.err = Stream::pipe();
  Finished refused = run_llm(setup);
  CHECK(refused.status == 3);
  CHECK(is_one_error(refused));
  std::ofstream(home.chats() / "20200101-000000.jsonl")
      << chat::header_line("then") << chat::message_line({.id = 1, .content = "kept"})
      << "\x01garbage\n"
      << chat::message_line(
             {.id = 3, .parent = 2, .role = chat::Role::assistant, .content = "answer"});
  Process chat(home.setup({"-c", "-n", "1"}));
  REQUIRE(chat.expect("line 3"));
  REQUIRE(chat.expect("kept"));
  leave(chat);
}

TEST_CASE("chat: --list, --no-history, and where there is no terminal") {
  const Home home;
  Setup setup = home.setup({"--no-history", "-n", "1"});
  {
    Process chat(setup);
    ask(chat, "secret");
    REQUIRE(chat.expect("tokens/s"));
    leave(chat);
  }
  CHECK_FALSE(std::filesystem::exists(home.chats()));
  {
    Process chat(home.setup({"-n", "1"}));
    ask(chat, "a title");
    REQUIRE(chat.expect("tokens/s"));
    leave(chat);
  }
  Setup list = home.setup();
  list.args = {"chat", "--list"};
  list.in = Stream::null();
  list.out = list.err = Stream::pipe();
  CHECK(run_llm(list).out.find("2 messages  a title\n") != std::string::npos);
  list.args.push_back("--json");
  CHECK(run_llm(list).out.find("\"title\":\"a title\"") != std::string::npos);
  list.args = {"chat", "-m", home.model};
  const Finished refused = run_llm(list);
  CHECK(refused.status == 2);
  CHECK(is_one_error(refused));
  list.args = {"-m", home.model, "-c", "-n", "1"};
  const Finished nothing_to_go_on_with = run_llm(list);
  CHECK(nothing_to_go_on_with.status == 2);
  CHECK(is_one_error(nothing_to_go_on_with));
}

TEST_CASE("chat: SIGTERM at the prompt ends it") {
  const Home home;
  Process chat(home.setup());
  REQUIRE(chat.expect(kPrompt));
  chat.send(SIGTERM);
  CHECK(chat.finish().status == 143);
}

}  // namespace
}  // namespace lm::test
