#include "engine/text/jinja/lexer.h"

#include <algorithm>
#include <array>

#include "engine/core/text.h"
#include "engine/core/utf8.h"
#include "engine/text/jinja/string_literal.h"
#include "engine/text/jinja/value.h"

namespace lm::jinja {
namespace {

constexpr std::array<std::string_view, 7> kLongOperators = {"//", "**", "==", "!=", ">=", "<=", ""};
constexpr std::string_view kOperators = "+-/*%~[](){}><=.:|,;";

bool is_ascii_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool starts_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c & 0x80) != 0;
}

// One kind of line end, and none at the end of the text.
std::string normalized(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out.push_back('\n');
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out.push_back(source[i]);
    }
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(source) {}
  Result<std::vector<Token>> run();

 private:
  char at(size_t offset = 0) const {
    return pos_ + offset < source_.size() ? source_[pos_ + offset] : '\0';
  }
  bool looks_at(std::string_view text) const { return source_.substr(pos_).starts_with(text); }
  void advance(size_t n) {
    line_ += int(std::count(source_.begin() + long(pos_), source_.begin() + long(pos_ + n), '\n'));
    pos_ += n;
  }
  void skip_space() {
    while (pos_ < source_.size() && is_ascii_space(source_[pos_])) advance(1);
  }
  void add(Token::Kind kind, std::string text) {
    tokens_.push_back({kind, std::move(text), line_});
  }
  Error fail(std::string_view message) const { return syntax_error(line_, message); }

  size_t find_tag(size_t from) const;
  void add_data(size_t end, char sign, bool is_variable);
  void finish_tag(size_t sign_length, std::string_view close, bool trims);
  Status comment();
  Result<bool> raw();
  Status tag(bool is_variable);
  Result<bool> tag_end(bool is_variable);
  Status tag_token();
  Status op();
  Status number();
  Status string();

  std::string_view source_;
  size_t pos_ = 0;
  int line_ = 1;
  bool line_starts_ = true;  // the last tag took the newline that ended its line
  std::string brackets_;     // that must close before the tag can end
  std::vector<Token> tokens_;
};

size_t Lexer::find_tag(size_t from) const {
  for (size_t i = from; (i = source_.find('{', i)) != std::string_view::npos; ++i) {
    const char next = i + 1 < source_.size() ? source_[i + 1] : '\0';
    if (next == '{' || next == '%' || next == '#') return i;
  }
  return std::string_view::npos;
}

// The text from here to a tag at `end` that begins with `sign`.
void Lexer::add_data(size_t end, char sign, bool is_variable) {
  std::string_view data = source_.substr(pos_, end - pos_);
  if (sign == '-') {
    while (!data.empty() && is_ascii_space(data.back())) data.remove_suffix(1);
  } else if (sign != '+' && !is_variable) {
    const size_t newline = data.rfind('\n');
    const size_t line = newline == std::string_view::npos ? 0 : newline + 1;
    const bool blank = std::all_of(data.begin() + long(line), data.end(), is_ascii_space);
    if (blank && (line > 0 || line_starts_)) data = data.substr(0, line);
  }
  if (!data.empty()) add(Token::Kind::data, std::string(data));
  advance(end - pos_);
}

// Past the end of a tag: its sign, `close`, and the space that goes with it.
void Lexer::finish_tag(size_t sign_length, std::string_view close, bool trims) {
  const size_t begin = pos_;
  const char sign = sign_length > 0 ? at() : '\0';
  advance(sign_length + close.size());
  if (sign == '-') {
    skip_space();
  } else if (sign != '+' && trims && at() == '\n') {
    advance(1);
  }
  line_starts_ = pos_ > begin && source_[pos_ - 1] == '\n';
}

Status Lexer::comment() {
  const size_t close = source_.find("#}", pos_);
  if (close == std::string_view::npos) return fail("expected #} to end a comment, found none");
  const bool has_sign = close > pos_ && (source_[close - 1] == '-' || source_[close - 1] == '+');
  advance(close - pos_ - size_t(has_sign));
  finish_tag(size_t(has_sign), "#}", true);
  return ok();
}

// {% raw %} ... {% endraw %}, from behind its {%; false when another block is there.
Result<bool> Lexer::raw() {
  const size_t begin = pos_;
  const int line = line_;
  skip_space();
  const bool named = looks_at("raw");
  if (named) advance(3);
  skip_space();
  const size_t sign_length = at() == '-' ? 1 : 0;
  if (!named || source_.substr(std::min(pos_ + sign_length, source_.size()), 2) != "%}") {
    pos_ = begin;
    line_ = line;
    return false;
  }
  finish_tag(sign_length, "%}", false);
  for (size_t open = pos_; (open = source_.find("{%", open)) != std::string_view::npos; ++open) {
    size_t i = open + 2;
    const char sign = i < source_.size() ? source_[i] : '\0';
    if (sign == '-' || sign == '+') ++i;
    while (i < source_.size() && is_ascii_space(source_[i])) ++i;
    if (source_.substr(i, 6) != "endraw") continue;
    i += 6;
    while (i < source_.size() && is_ascii_space(source_[i])) ++i;
    const size_t close_sign = i < source_.size() && (source_[i] == '-' || source_[i] == '+');
    if (source_.substr(i + close_sign, 2) != "%}") continue;
    add_data(open, sign, false);
    advance(i - pos_);
    finish_tag(close_sign, "%}", true);
    return true;
  }
  return fail("expected {% endraw %}, found the end of the template");
}

Result<bool> Lexer::tag_end(bool is_variable) {
  if (!brackets_.empty()) return false;
  const std::string_view close = is_variable ? "}}" : "%}";
  const bool has_sign = at() == '-' || (at() == '+' && !is_variable);
  if (source_.substr(std::min(pos_ + size_t(has_sign), source_.size())).starts_with(close)) {
    add(is_variable ? Token::Kind::variable_end : Token::Kind::block_end, "");
    finish_tag(size_t(has_sign), close, !is_variable);
    return true;
  }
  return false;
}

Status Lexer::tag(bool is_variable) {
  add(is_variable ? Token::Kind::variable_begin : Token::Kind::block_begin, "");
  const int begin = line_;
  brackets_.clear();
  while (true) {
    skip_space();
    if (LM_TRY(tag_end(is_variable))) return ok();
    if (pos_ >= source_.size()) {
      return syntax_error(begin, is_variable ? "expected }} to end a tag, found none"
                                             : "expected %} to end a tag, found none");
    }
    LM_TRY(tag_token());
  }
}

Status Lexer::tag_token() {
  const char c = at();
  if (is_digit(c)) return number();
  if (c == '\'' || c == '"') return string();
  if (!starts_name(c)) return op();
  size_t n = 1;
  while (starts_name(at(n)) || is_digit(at(n))) ++n;
  add(Token::Kind::name, std::string(source_.substr(pos_, n)));
  advance(n);
  return ok();
}

Status Lexer::op() {
  std::string_view text = source_.substr(pos_, 1);
  for (const std::string_view candidate : kLongOperators) {
    if (!candidate.empty() && looks_at(candidate)) text = candidate;
  }
  if (kOperators.find(text[0]) == std::string_view::npos && text != "!=") {
    return fail(concat("expected an expression, found \"", printable(text), "\""));
  }
  const char c = text[0];
  if (c == '(') brackets_ += ')';
  if (c == '[') brackets_ += ']';
  if (c == '{') brackets_ += '}';
  if (c == ')' || c == ']' || c == '}') {
    if (brackets_.empty() || brackets_.back() != c) {
      return fail(concat("found \"", text, "\", which closes nothing"));
    }
    brackets_.pop_back();
  }
  add(Token::Kind::op, std::string(text));
  advance(text.size());
  return ok();
}

// Digits with '_' between them, "0x1F", "1.5", "2e-3". A point needs a digit behind it: "1.x".
Status Lexer::number() {
  std::string text;
  size_t n = 0;
  const auto digits = [&](auto wanted) {
    while (wanted(at(n)) || (at(n) == '_' && n > 0 && wanted(at(n + 1)))) {
      if (at(n) != '_') text += at(n);
      ++n;
    }
  };
  const char base = char(at(1) | 0x20);
  if (at() == '0' && (base == 'x' || base == 'o' || base == 'b')) {
    text.append(source_.substr(pos_, 2));
    n = 2;
    digits([](char c) { return is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f'); });
    add(Token::Kind::integer, std::move(text));
    advance(n);
    return ok();
  }
  digits(is_digit);
  bool real = false;
  if (at(n) == '.' && is_digit(at(n + 1))) {
    real = true;
    text += '.';
    ++n;
    digits(is_digit);
  }
  const size_t sign = at(n + 1) == '+' || at(n + 1) == '-';
  if ((at(n) | 0x20) == 'e' && is_digit(at(n + 1 + sign))) {
    real = true;
    text += source_.substr(pos_ + n, 1 + sign);
    n += 1 + sign;
    digits(is_digit);
  }
  add(real ? Token::Kind::real : Token::Kind::integer, std::move(text));
  advance(n);
  return ok();
}

Status Lexer::string() {
  size_t end = pos_ + 1;
  while (end < source_.size() && source_[end] != at()) end += source_[end] == '\\' ? 2 : 1;
  if (end >= source_.size()) return fail("expected a quote to end a string, found none");
  std::optional<std::string> value = unescape(source_.substr(pos_ + 1, end - pos_ - 1));
  if (!value) return fail("expected a string, found an escape that names no character");
  add(Token::Kind::string, std::move(*value));
  advance(end + 1 - pos_);
  return ok();
}

Result<std::vector<Token>> Lexer::run() {
  while (pos_ < source_.size()) {
    const size_t tag_at = find_tag(pos_);
    if (tag_at == std::string_view::npos) {
      add(Token::Kind::data, std::string(source_.substr(pos_)));
      break;
    }
    const char type = source_[tag_at + 1];
    const char sign = tag_at + 2 < source_.size() ? source_[tag_at + 2] : '\0';
    add_data(tag_at, sign, type == '{');
    advance(sign == '-' || sign == '+' ? 3 : 2);
    if (type == '#') {
      LM_TRY(comment());
    } else if (type == '{' || !LM_TRY(raw())) {
      LM_TRY(tag(type == '{'));
    }
  }
  add(Token::Kind::end, "");
  return std::move(tokens_);
}

}  // namespace

Error syntax_error(int line, std::string_view message) {
  return template_error(concat("line ", line, ": ", message));
}

Result<std::vector<Token>> tokenize(std::string_view source) {
  const std::string text = normalized(source);
  return Lexer(text).run();
}

}  // namespace lm::jinja
