// Conversations as lines: written and read again, and damaged in every way.
#include "engine/chat/transcript.h"

#include <algorithm>

#include "tests/support/support.h"

namespace lm::chat {
namespace {

Conversation sample() {
  Conversation c;
  c.set_system("Be \"brief\".\n");
  c.say({.role = Role::user, .content = "h\xC3\xA9llo\n\x1b[1m"});
  c.say({.role = Role::assistant, .content = "yes", .reasoning = "hm", .finish = "stop"});
  c.go_to(0);
  c.say({.role = Role::user, .content = std::string("nul\0!", 5)});
  c.go_to(2);
  return c;
}

std::string written(const Conversation& c) {
  return header_line("2026-01-02 03:04:05") + body_lines(c);
}

TEST_CASE("transcript: what is read is what was written") {
  const Conversation c = sample();
  const Transcript read = test::require_ok(read_transcript(written(c)));
  CHECK(read.created == "2026-01-02 03:04:05");
  CHECK(read.damaged_lines == 0);
  CHECK(read.whole_bytes == written(c).size());
  CHECK(body_lines(read.conversation) == body_lines(c));
  CHECK(read.conversation.current() == 2);
  CHECK(read.conversation.system() == "Be \"brief\".\n");
  CHECK(read.conversation.find(2)->reasoning == "hm");
  CHECK(read.conversation.find(3)->content.size() == 5);
}

TEST_CASE("transcript: cut off anywhere, all whole lines are there") {
  const std::string text = written(sample());
  const size_t header = text.find('\n') + 1;
  for (size_t size = 0; size < text.size(); ++size) {
    const Result<Transcript> read = read_transcript(std::string_view(text).substr(0, size));
    if (size + 1 < header) {
      CHECK_FALSE(read.ok());
      continue;
    }
    const auto lines = std::count(text.begin(), text.begin() + ptrdiff_t(size), '\n');
    const Conversation& c = test::require_ok(read).conversation;
    CHECK(c.messages().size() == size_t(std::clamp<ptrdiff_t>(lines - 2, 0, 3)));
    CHECK(read.value().damaged_lines == 0);
    if (size >= header) CHECK(text[read.value().whole_bytes - 1] == '\n');
  }
}

TEST_CASE("transcript: damaged lines are left out and counted") {
  std::string text = header_line("t");
  for (const char* line :
       {R"({"message":1,"after":0,"role":"user","content":"a"})", "garbage", R"({"goto":99})",
        R"({"message":2,"after":1,"role":"robot","content":"b"})", R"({"system":5})", "[]", "",
        R"({"message":3,"after":2,"role":"assistant","content":7})",
        R"({"message":-4,"after":2,"role":"assistant","content":""})",
        R"({"message":1e300,"after":2,"role":"assistant","content":""})",
        R"({"message":18446744073709551615,"after":2,"role":"assistant","content":""})",
        R"({"message":4,"after":3,"role":"assistant","content":"c"})"}) {
    text += std::string(line) + "\n";
  }
  const Transcript read = test::require_ok(read_transcript(text));
  CHECK(read.damaged_lines == 9);
  CHECK(read.first_damaged == 3);
  REQUIRE(read.conversation.path().size() == 2);
  CHECK(read.conversation.path()[1]->content == "c");
}

TEST_CASE("transcript: what is no conversation is refused") {
  for (const char* text :
       {"", "\n", "{}\n", "[]\n", "\"llm chat\"\n", "{\"format\":\"llm chat\"}\n",
        "{\"format\":3,\"version\":1,\"created\":\"\"}\n"}) {
    CHECK(read_transcript(text).error().code == ErrorCode::bad_file);
  }
  CHECK(
      read_transcript("{\"format\":\"llm chat\",\"version\":2,\"created\":\"\"}\n").error().code ==
      ErrorCode::unsupported);
}

TEST_CASE("transcript: any changed byte is survived") {
  const std::string text = written(sample());
  test::Random random(5);
  for (int round = 0; round < 2000; ++round) {
    std::string changed = text;
    for (uint64_t n = 1 + random.below(3); n > 0; --n) {
      changed[random.below(changed.size())] = char(random.next());
    }
    const Result<Transcript> read = read_transcript(changed);
    if (read.ok()) CHECK(read.value().conversation.path().size() <= 3);
  }
}

TEST_CASE("transcript: Markdown of the current path") {
  CHECK(as_markdown(sample()) ==
        "## System\n\nBe \"brief\".\n\n\n## Question\n\nh\xC3\xA9llo\n\x1b[1m\n\n## "
        "Answer\n\nyes\n\n");
}

}  // namespace
}  // namespace lm::chat
