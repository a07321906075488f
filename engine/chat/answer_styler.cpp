#include "engine/chat/answer_styler.h"

#include <utility>

#include "engine/core/utf8.h"

namespace lm::chat {
namespace {

constexpr std::string_view kFence = "```";
constexpr size_t kLongestStart = 12;  // bytes: deeper lists are left as they are

bool is_word(char32_t c) {
  return c > 0x7F || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool is_blank(char32_t c) {
  return c == ' ' || c == '\t' || c == '\n';
}

enum class Start { plain, waits, heading, bullet, quote, fence };

// What the beginning of a line means, if that is clear by now.
Start start_of(std::string_view text) {
  const size_t indent = text.find_first_not_of(' ');
  if (text.size() > kLongestStart) return Start::plain;
  if (indent == std::string_view::npos) return Start::waits;
  const std::string_view rest = text.substr(indent);
  if (kFence.starts_with(rest)) return rest == kFence ? Start::fence : Start::waits;
  if (rest == ">") return Start::waits;
  if (rest == "> ") return Start::quote;
  if (rest == "- " || rest == "* " || rest == "+ ") return Start::bullet;
  if (rest == "-" || rest == "*" || rest == "+") return Start::waits;
  const size_t hashes = rest.find_first_not_of('#');
  if (hashes == std::string_view::npos) return rest.size() <= 6 ? Start::waits : Start::plain;
  return hashes > 0 && rest[hashes] == ' ' ? Start::heading : Start::plain;
}

}  // namespace

std::string AnswerStyler::reasoning(std::string_view text) {
  reasons_ = true;
  lines_.set_style({.dim = true});
  while (!text.empty()) {
    const utf8::Decoded d = utf8::decode(text);
    lines_.put(d.code_point);
    text.remove_prefix(size_t(d.length));
  }
  return lines_.take();
}

std::string AnswerStyler::answer(std::string_view text) {
  if (reasons_) {
    reasons_ = false;
    lines_.end_line();
    lines_.put('\n');
  }
  while (!text.empty()) {
    const utf8::Decoded d = utf8::decode(text);
    if (markdown_) {
      put_answer(d.code_point);
    } else {
      put(d.code_point);
    }
    text.remove_prefix(size_t(d.length));
  }
  return lines_.take();
}

std::string AnswerStyler::finish() {
  if (markdown_) end_line();
  lines_.end_line();
  return lines_.take();
}

void AnswerStyler::put_answer(char32_t c) {
  if (c == '\n') {
    end_line();
    put('\n');
    at_start_ = true;
    restyle();
    return;
  }
  if (at_start_ && waits_at_line_start(c)) return;
  put_inline(c);
}

// True when `c` was taken: it waits with the beginning of the line, or completed a mark.
bool AnswerStyler::waits_at_line_start(char32_t c) {
  utf8::append(start_, c);
  Start start = start_of(start_);
  const bool in_code = block_ == Block::code;
  if (in_code && start != Start::fence) {
    const size_t indent = start_.find_first_not_of(' ');
    const bool may_be_fence =
        start == Start::waits && (indent == std::string::npos || start_[indent] == '`');
    start = may_be_fence ? Start::waits : Start::plain;
  }
  if (start == Start::waits) return true;
  const std::string text = std::exchange(start_, {});
  const std::string indent = text.substr(0, text.find_first_not_of(' '));
  at_start_ = false;
  if (start == Start::fence) {
    block_ = in_code ? Block::text : Block::code;
    lines_.set_wrapping(block_ != Block::code);
    lines_.set_style({.dim = true});
    for (const char s : text) put(char32_t(s));
    return true;
  }
  if (start == Start::heading) block_ = Block::heading;
  if (start == Start::quote) block_ = Block::quote;
  restyle();
  if (start != Start::plain) {
    for (const char s : indent) put(char32_t(s));
    if (start == Start::bullet) put(U'•');
    if (start == Start::quote) put(U'│');
    if (start != Start::heading) put(' ');
    return true;
  }
  for (std::string_view rest = text; !rest.empty();) {
    const utf8::Decoded d = utf8::decode(rest);
    put_inline(d.code_point);
    rest.remove_prefix(size_t(d.length));
  }
  return true;
}

// The end of a line ends every style but that of a block of code.
void AnswerStyler::end_line() {
  for (std::string_view rest = start_; !rest.empty();) {
    const utf8::Decoded d = utf8::decode(rest);
    put_inline(d.code_point);
    rest.remove_prefix(size_t(d.length));
  }
  start_.clear();
  resolve_stars('\n');
  bold_ = italic_ = code_ = false;
  if (block_ != Block::code) block_ = Block::text;
  last_ = '\n';
}

void AnswerStyler::put_inline(char32_t c) {
  if (block_ == Block::code) return put(c);
  if (c == '`') {
    resolve_stars(c);
    code_ = !code_;
    last_ = c;
    return restyle();
  }
  if (c == '*' && !code_) {
    if (stars_++ == 0) before_stars_ = last_;
    return;
  }
  resolve_stars(c);
  put(c);
  last_ = c;
}

// Stars begin a style before a word and end it after one; others are stars.
void AnswerStyler::resolve_stars(char32_t next) {
  if (stars_ == 0) return;
  const int n = std::exchange(stars_, 0);
  const bool closes = (n != 1 ? bold_ : italic_) && !is_blank(before_stars_);
  const bool opens = !closes && !is_blank(next) && !is_word(before_stars_);
  if (n > 3 || (!closes && !opens)) {
    for (int i = 0; i < n; ++i) put('*');
    last_ = '*';
    return;
  }
  if (n != 2) italic_ = opens;
  if (n != 1) bold_ = opens;
  restyle();
}

void AnswerStyler::restyle() {
  Style style;
  style.bold = bold_ || block_ == Block::heading;
  style.italic = italic_;
  style.dim = block_ == Block::quote;
  style.code = code_ || block_ == Block::code;
  lines_.set_style(style);
}

void AnswerStyler::put(char32_t c) {
  lines_.put(c);
}

}  // namespace lm::chat
