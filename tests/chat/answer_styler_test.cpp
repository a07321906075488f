// Answers on a terminal: styles, line breaks, and what is shown when nothing may be styled.
#include "engine/chat/answer_styler.h"

#include <algorithm>
#include <cstdint>

#include "engine/chat/width.h"
#include "tests/support/support.h"

namespace lm::chat {
namespace {

// Spells styles so that they can be read: <b> bold, <i> italic, <d> dim, <c> code, <> plain.
std::string readable(std::string text) {
  const std::pair<const char*, const char*> kNames[] = {
      {"\x1b[0;1m", "<b>"},  {"\x1b[0;3m", "<i>"}, {"\x1b[0;2m", "<d>"},
      {"\x1b[0;36m", "<c>"}, {"\x1b[0m", "<>"},    {"\x1b[0;1;3m", "<bi>"}};
  for (const auto& [escape, name] : kNames) {
    for (size_t at = 0; (at = text.find(escape)) != std::string::npos;) {
      text.replace(at, std::string_view(escape).size(), name);
    }
  }
  return text;
}

std::string styled(std::string_view text, int columns = 0, size_t piece = SIZE_MAX) {
  AnswerStyler styler(true, true);
  styler.set_columns(columns);
  std::string out;
  for (; !text.empty(); text.remove_prefix(std::min(piece, text.size()))) {
    out += styler.answer(text.substr(0, piece));
  }
  out += styler.finish();
  return readable(out);
}

// What a terminal with these columns would hold: '\n', and ESC [ n D and ESC [ K, are obeyed.
std::string screen_of(std::string_view text) {
  std::string done, line;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\n') {
      done += line + "\n";
      line.clear();
    } else if (text[i] == '\x1b') {
      const size_t end = text.find_first_of("mDK", i);
      if (text[end] == 'D') {
        int left = std::stoi(std::string(text.substr(i + 2, end - i - 2)));
        while (left-- > 0 && !line.empty()) {
          while (line.size() > 1 && (line.back() & 0xC0) == 0x80) line.pop_back();
          line.pop_back();
        }
      }
      i = end;
    } else {
      line += text[i];
    }
  }
  return done + line;
}

TEST_CASE("styler: the everyday part of Markdown") {
  CHECK(styled("plain text\n") == "plain text\n");
  CHECK(styled("# Title\nx") == "<b>Title\n<>x\n");
  CHECK(styled("a **bold** word") == "a <b>bold<> word\n");
  CHECK(styled("an *italic* word") == "an <i>italic<> word\n");
  CHECK(styled("***both*** x") == "<bi>both<> x\n");
  CHECK(styled("call `f(*x)` now") == "call <c>f(*x)<> now\n");
  CHECK(styled("- one\n  * two\n+ three\n") == "• one\n  • two\n• three\n");
  CHECK(styled("> said\nx") == "<d>│ said\n<>x\n");
  CHECK(styled("```py\nx = **a\n- b\n```\n**c**") == "<d>```py\n<c>x = **a\n- b\n<d>```\n<b>c<>\n");
}

TEST_CASE("styler: marks that mean nothing stay") {
  for (const char* text : {"2 * 3 * 4", "a*b*c", "-5", "#hash", "1. first", "** x", "```x", "*",
                           "**", "-", "a_b_c", "             - x"}) {
    INFO(text);
    CHECK(screen_of(styled(text)).find(text) != std::string::npos);
  }
  CHECK(styled("**open\nnext") == "<b>open\n<>next\n");
}

TEST_CASE("styler: the same whatever the pieces") {
  const std::string text =
      "# T\n\nSome **bold** and *it* `c` — 漢字 😀.\n\n- a\n- b\n\n```c\nint **p;\n```\nend*\n";
  for (size_t piece = 1; piece < 12; ++piece) {
    AnswerStyler styler(true, true);
    styler.set_columns(20);
    std::string out;
    for (std::string_view rest = text; !rest.empty();) {
      size_t n = std::min(piece, rest.size());
      while (n < rest.size() && (rest[n] & 0xC0) == 0x80) ++n;  // whole characters
      out += styler.answer(rest.substr(0, n));
      rest.remove_prefix(n);
    }
    out += styler.finish();
    CHECK(readable(out) == styled(text, 20));
  }
}

TEST_CASE("styler: words are not torn, and no line is too long") {
  const std::string text =
      "The quick brown fox jumps over the lazy dog, incomprehensibilities and "
      "漢字かな混じり文 and 😀😀😀😀😀😀😀😀 end";
  for (int columns = 4; columns < 60; ++columns) {
    AnswerStyler styler(true, true);
    styler.set_columns(columns);
    std::string out = styler.answer(text);
    out += styler.finish();
    const std::string screen = screen_of(out);
    std::string joined;
    for (size_t begin = 0; begin < screen.size();) {
      const size_t end = std::min(screen.find('\n', begin), screen.size());
      const std::string line = screen.substr(begin, end - begin);
      CHECK(text_width(line) < columns);
      joined += line;
      begin = end + 1;
    }
    std::string want = text, got = joined;
    std::erase(want, ' ');
    std::erase(got, ' ');
    CHECK(got == want);
    if (columns > 24) CHECK(screen.find("incomprehensibilities") != std::string::npos);
  }
}

TEST_CASE("styler: reasoning is dimmed and apart; without styles there are none") {
  AnswerStyler styler(true, true);
  std::string out = styler.reasoning("hm **x**\n");
  out += styler.answer("**yes**");
  out += styler.finish();
  CHECK(readable(out) == "<d>hm **x**\n<>\n<b>yes<>\n");
  AnswerStyler plain(false, false);
  plain.set_columns(5);
  out = plain.reasoning("hm");
  out += plain.answer("# **long words here**");
  out += plain.finish();
  CHECK(out == "hm\n\n# **long words here**\n");
}

TEST_CASE("styler: any text") {
  test::Random random(4);
  constexpr std::string_view kParts[] = {"*", "**", "`",  "```", "\n", "- ",   "# ", "> ",
                                         " ", "x",  "漢", "😀",   "\t", "word", "é"};
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (uint64_t n = random.below(20); n > 0; --n) text += kParts[random.below(std::size(kParts))];
    const std::string shown = styled(text, int(random.below(12)));
    const bool whole_line = shown.ends_with('\n') || shown.ends_with("\n<>");
    CHECK((shown.empty() || whole_line));
  }
}

}  // namespace
}  // namespace lm::chat
