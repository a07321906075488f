#include "engine/cli/config_file.h"

#include <algorithm>
#include <set>
#include <utility>

#include "engine/core/text.h"
#include "engine/core/utf8.h"

namespace lm::cli {
namespace {

using Kind = ConfigEntry::Kind;

bool is_bare(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '_';
}

// A number without its sign of nothing and the underscores between its digits; other underscores
// stay, and make it none.
std::string without_separators(std::string_view number) {
  const auto is_digit = [&](size_t i) {
    return i < number.size() && number[i] >= '0' && number[i] <= '9';
  };
  std::string digits;
  const bool plus = number.starts_with('+') && is_digit(1);
  for (size_t i = plus ? 1 : 0; i < number.size(); ++i) {
    if (number[i] == '_' && i > 0 && is_digit(i - 1) && is_digit(i + 1)) continue;
    digits += number[i];
  }
  return digits;
}

// Grammar: https://toml.io/en/v1.0.0
class Reader {
 public:
  Reader(std::string_view text, std::string_view name) : text_(text), name_(name) {}

  Result<ConfigFile> read() {
    skip("\xEF\xBB\xBF");
    if (!utf8::is_valid(text_)) return refuse_encoding();
    for (skip_empty_lines(); !at_end(); skip_empty_lines()) {
      if (skip("[")) {
        LM_TRY(read_table());
      } else {
        LM_TRY(read_entry());
      }
      skip_blanks_and_comment();
      if (!at_end() && peek() != '\n') return expected("the end of the line");
    }
    return std::move(file_);
  }

 private:
  bool at_end() const { return at_ >= text_.size(); }
  char peek() const { return at_end() ? '\0' : text_[at_]; }

  char take() {
    const char c = text_[at_++];
    if (c == '\n') ++line_;
    return c;
  }

  bool skip(std::string_view wanted) {
    if (!text_.substr(at_).starts_with(wanted)) return false;
    for (size_t i = 0; i < wanted.size(); ++i) take();
    return true;
  }

  void skip_blanks_and_comment() {
    while (peek() == ' ' || peek() == '\t') take();
    if (peek() == '#') {
      while (!at_end() && peek() != '\n') take();
    }
    if (text_.substr(at_).starts_with("\r\n")) take();
  }

  void skip_empty_lines() {
    for (skip_blanks_and_comment(); peek() == '\n'; skip_blanks_and_comment()) take();
  }

  Error error_at(int line, std::string_view message) const {
    return Error{ErrorCode::bad_request, concat(printable(name_), ":", line, ": ", message)};
  }

  // What stands here, up to the end of the line.
  Error expected(std::string_view what) const {
    const std::string_view rest = text_.substr(at_, text_.find('\n', at_) - at_);
    return error_at(line_,
                    rest.empty() || rest == "\r"
                        ? concat("expected ", what, ", found the end of the line")
                        : concat("expected ", what, ", found \"", printable(rest, 40), "\""));
  }

  Error refuse_encoding() const {
    int line = 1;
    std::string_view rest = text_;
    for (utf8::Decoded c; (c = utf8::decode(rest)).valid; rest.remove_prefix(size_t(c.length))) {
      if (rest.front() == '\n') ++line;
    }
    return error_at(line, "expected UTF-8, found other bytes");
  }

  Status read_table() {
    if (peek() == '[') return expected("the name of a command (lists of tables are not taken)");
    const int line = line_;
    table_ = LM_TRY(read_name());
    if (!skip("]")) return expected("\"]\"");
    const auto [known, is_new] = file_.tables.emplace(table_, line);
    if (!is_new) {
      return error_at(line, concat("expected [", printable(table_), "] once, found it in line ",
                                   known->second, " too"));
    }
    return ok();
  }

  Result<std::string> read_name() {
    skip_blanks();
    std::string name;
    if (peek() == '"' || peek() == '\'') {
      name = LM_TRY(read_text());
    } else {
      while (is_bare(peek())) name += take();
      if (name.empty()) return expected("a name");
    }
    skip_blanks();
    return name;
  }

  void skip_blanks() {
    while (peek() == ' ' || peek() == '\t') take();
  }

  Status read_entry() {
    ConfigEntry entry;
    entry.line = line_;
    entry.table = table_;
    entry.key = LM_TRY(read_name());
    if (table_.empty() && skip(".")) entry.table = std::exchange(entry.key, LM_TRY(read_name()));
    if (!skip("=")) return expected(concat("\"=\" after ", printable(entry.key)));
    skip_blanks();
    entry.kind = peek() == '[' ? Kind::list : Kind::text;
    if (entry.kind == Kind::list) {
      LM_TRY(read_list(entry.values));
    } else {
      entry.values.push_back(LM_TRY(read_value(entry.kind)));
    }
    if (!seen_.emplace(entry.table, entry.key).second) {
      return error_at(entry.line,
                      concat("expected ", printable(entry.key), " once, found it a second time"));
    }
    file_.entries.push_back(std::move(entry));
    return ok();
  }

  Status read_list(std::vector<std::string>& values) {
    take();  // '['
    for (skip_empty_lines(); !skip("]"); skip_empty_lines()) {
      Kind kind = Kind::text;
      values.push_back(LM_TRY(read_value(kind)));
      skip_empty_lines();
      if (!skip(",") && peek() != ']') return expected("\",\" or \"]\" in a list");
    }
    return ok();
  }

  Result<std::string> read_value(Kind& kind) {
    if (peek() == '"' || peek() == '\'') return read_text();
    const size_t end = std::min(text_.find_first_of(" \t\r\n,]#", at_), text_.size());
    const std::string_view word = text_.substr(at_, end - at_);
    std::string digits = without_separators(word);
    if (word == "true" || word == "false") {
      kind = Kind::boolean;
    } else if (parse_int(digits) || parse_double(digits)) {
      kind = Kind::number;
    } else {
      return expected("a value (\"text\", a number, true, false or [a list])");
    }
    at_ = end;
    return digits;
  }

  Result<std::string> read_text() {
    const int line = line_;
    const char quote = take();
    const bool many_lines = text_.substr(at_).starts_with(std::string(2, quote));
    const std::string end(many_lines ? 3 : 1, quote);
    if (many_lines) {
      at_ += 2;
      if (!skip("\r\n")) skip("\n");
    }
    std::string text;
    while (!skip(end)) {
      if (at_end() || (!many_lines && peek() == '\n'))
        return error_at(line, concat("expected ", end, " at the end of a text, found none"));
      if (peek() == '\\' && quote == '"') {
        LM_TRY(read_escape(text, many_lines));
      } else if (static_cast<unsigned char>(peek()) < 0x20 && peek() != '\t' && peek() != '\n' &&
                 peek() != '\r') {
        return error_at(line_, "expected a text, found a control character in it");
      } else {
        text += take();
      }
    }
    // Quotes may stand just before the three that end a text.
    while (many_lines && peek() == quote) text += take();
    return text;
  }

  Status read_escape(std::string& text, bool many_lines) {
    constexpr std::string_view kNames = "btnfr\"\\", kMeanings = "\b\t\n\f\r\"\\";
    const size_t start = at_;
    take();
    const char c = at_end() ? '\0' : peek();
    if (const size_t index = kNames.find(c); index != std::string_view::npos) {
      take();
      text += kMeanings[index];
      return ok();
    }
    if (c == 'u' || c == 'U') {
      const std::string_view digits = text_.substr(at_ + 1, c == 'u' ? 4 : 8);
      const bool whole = digits.size() == (c == 'u' ? 4 : 8) &&
                         digits.find_first_not_of("0123456789abcdefABCDEF") == std::string::npos;
      const auto code = char32_t(whole ? std::stoul(std::string(digits), nullptr, 16) : 0xD800);
      if (code <= 0x10FFFF && (code < 0xD800 || code > 0xDFFF)) {
        at_ += 1 + digits.size();
        utf8::append(text, code);
        return ok();
      }
    }
    if (many_lines && (c == '\n' || c == '\r' || c == ' ' || c == '\t')) {
      const size_t next = text_.find_first_not_of(" \t\r", at_);
      if (next != std::string_view::npos && text_[next] == '\n') {  // the line goes on below
        while (!at_end() && std::string_view(" \t\r\n").find(peek()) != std::string_view::npos)
          take();
        return ok();
      }
    }
    at_ = start;
    return expected("an escape such as \\n, \\\" or \\u00e4 ('...' takes a \\ as it is)");
  }

  std::string_view text_, name_;
  size_t at_ = 0;
  int line_ = 1;
  std::string table_;
  ConfigFile file_;
  std::set<std::pair<std::string, std::string>> seen_;
};

}  // namespace

Result<ConfigFile> parse_config(std::string_view text, std::string_view name) {
  return Reader(text, name).read();
}

}  // namespace lm::cli
