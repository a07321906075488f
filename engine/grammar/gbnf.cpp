#include "engine/grammar/gbnf.h"

#include <unordered_map>
#include <utility>

#include "engine/core/text.h"
#include "engine/core/utf8.h"
#include "engine/grammar/limits.h"
#include "engine/grammar/text_cursor.h"

namespace lm::grammar {
namespace {

constexpr std::string_view kRoot = "root";

bool is_name_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '_';
}

class Parser : TextCursor {
 public:
  explicit Parser(std::string_view text) : TextCursor(text) {}

  Result<Grammar> run() {
    (void)rule_named(kRoot);  // the first rule
    for (skip(true); !at_end(); skip(true)) {
      LM_TRY(parse_rule());
      LM_TRY(grammar_.check_size());
    }
    LM_TRY(check_defined());
    return std::move(grammar_);
  }

 private:
  std::string place(size_t pos) const {
    size_t line = 1, column = 1;
    for (size_t i = 0; i < pos && i < text_.size(); ++i) {
      ++column;
      if (text_[i] == '\n') ++line, column = 1;
    }
    return concat("line ", line, ", column ", column);
  }
  Error error_at(size_t pos, std::string_view expected) const {
    std::string found = "the end";
    if (pos < text_.size()) {
      const auto length = size_t(utf8::decode(text_.substr(pos)).length);
      found = text_[pos] == '\n' ? "the end of the line"
                                 : concat("\"", printable(text_.substr(pos, length)), "\"");
    }
    return {ErrorCode::bad_file,
            concat("expected ", expected, ", found ", found, " at ", place(pos))};
  }
  Error expected(std::string_view what) const { return error_at(pos_, what); }

  // White space and comments; line ends only where the expression may go on after them.
  void skip(bool lines) {
    while (!at_end()) {
      const char c = text_[pos_];
      if (c == '#') {
        while (!at_end() && text_[pos_] != '\n' && text_[pos_] != '\r') ++pos_;
      } else if (c == ' ' || c == '\t' || (lines && (c == '\n' || c == '\r'))) {
        ++pos_;
      } else {
        break;
      }
    }
  }

  // A line that begins with | goes on with the rule before it.
  void skip_to_alternative() {
    const size_t before = pos_;
    skip(true);
    if (!at("|")) pos_ = before;
  }

  // A name that begins a line and has ::= after it: an alternative that ended with | was empty.
  bool at_next_rule() const {
    size_t before = pos_, after = pos_;
    while (before > 0 && (text_[before - 1] == ' ' || text_[before - 1] == '\t')) --before;
    if (before > 0 && text_[before - 1] != '\n' && text_[before - 1] != '\r') return false;
    while (after < text_.size() && is_name_char(text_[after])) ++after;
    while (after < text_.size() && (text_[after] == ' ' || text_[after] == '\t')) ++after;
    return text_.substr(after).starts_with("::=");
  }

  RuleId rule_named(std::string_view name) {
    const auto found = rules_.find(std::string(name));
    if (found != rules_.end()) return found->second;
    const RuleId rule = grammar_.add_rule(std::string(name));
    rules_.emplace(name, rule);
    used_at_.push_back(pos_);
    return rule;
  }

  Result<std::string_view> parse_name() {
    const size_t begin = pos_;
    while (!at_end() && is_name_char(text_[pos_])) ++pos_;
    if (pos_ == begin) return expected("the name of a rule");
    return text_.substr(begin, pos_ - begin);
  }

  Status parse_rule() {
    const size_t begin = pos_;
    const std::string_view name = LM_TRY(parse_name());
    skip(false);
    if (!take("::=")) return expected("::= after the name of a rule");
    const RuleId rule = rule_named(name);
    if (grammar_.rules()[rule].defined) {
      return error_at(begin, concat("one rule \"", name, "\""));
    }
    skip(true);
    const ExprId body = LM_TRY(parse_choice(0));
    grammar_.define(rule, body);
    if (!at_end() && text_[pos_] != '\n' && text_[pos_] != '\r' && !at_next_rule()) {
      return expected("the end of the line after a rule");
    }
    return ok();
  }

  Result<ExprId> parse_choice(int depth) {
    if (depth > kMaxNesting) return expected(concat("groups at most ", kMaxNesting, " deep"));
    std::vector<ExprId> parts;
    do {
      skip(true);
      parts.push_back(LM_TRY(parse_sequence(depth)));
      skip_to_alternative();
    } while (take("|"));
    return grammar_.choice(parts);
  }

  Result<ExprId> parse_sequence(int depth) {
    std::vector<ExprId> parts;
    for (; !at_end(); skip(depth > 0)) {
      const char c = text_[pos_];
      if (c == '|' || c == ')' || c == '\n' || c == '\r') break;
      if (is_name_char(c) && depth == 0 && at_next_rule()) break;
      const ExprId item = LM_TRY(parse_item(depth));
      parts.push_back(LM_TRY(parse_repeats(item)));
      if (parts.size() > kMaxNodes) return expected("a shorter sequence");
    }
    return grammar_.sequence(parts);
  }

  Result<ExprId> parse_item(int depth) {
    if (at("\"")) return parse_text();
    if (at("[")) return parse_class();
    if (take(".")) return grammar_.chars(CharSet::all());
    if (is_name_char(text_[pos_])) return grammar_.rule(rule_named(LM_TRY(parse_name())));
    if (!take("(")) {
      return expected("\"text\", [a class], (a group), the name of a rule, | or the end of a rule");
    }
    const ExprId group = LM_TRY(parse_choice(depth + 1));
    skip(true);
    if (!take(")")) return expected(") after a group");
    return group;
  }

  Result<ExprId> parse_repeats(ExprId item) {
    int depth = 0;
    for (skip(false); !at_end(); skip(false)) {
      const size_t begin = pos_;
      uint32_t least = 0, most = kUnbounded;
      if (take("+")) {
        least = 1;
      } else if (take("?")) {
        most = 1;
      } else if (take("{")) {
        least = LM_TRY(parse_count());
        most = least;
        skip(false);
        if (take(",")) {
          skip(false);
          most = at("}") ? kUnbounded : LM_TRY(parse_count());
          skip(false);
        }
        if (!take("}")) return expected("} after a repetition's counts");
        if (most < least) return error_at(begin, "a repetition {m,n} with m not above n");
      } else if (!take("*")) {
        break;
      }
      if (++depth > kMaxNesting) return error_at(begin, "fewer repetitions of repetitions");
      item = grammar_.repeat(item, least, most);
    }
    return item;
  }

  Result<uint32_t> parse_count() {
    uint32_t count = 0;
    const size_t begin = pos_;
    for (; !at_end() && text_[pos_] >= '0' && text_[pos_] <= '9'; ++pos_) {
      count = count * 10 + uint32_t(text_[pos_] - '0');
      if (count > kMaxRepeat) return error_at(begin, concat("a count of at most ", kMaxRepeat));
    }
    if (pos_ == begin) return expected("a count");
    return count;
  }

  Result<char32_t> parse_hex(int digits) {
    char32_t value = 0;
    for (int i = 0; i < digits; ++i, ++pos_) {
      const int digit = hex_digit();
      if (digit < 0) return expected(concat(digits, " hexadecimal digits"));
      value = value << 4 | char32_t(digit);
    }
    if (value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) {
      return error_at(pos_ - size_t(digits), "the number of a Unicode character");
    }
    return value;
  }

  Result<char32_t> parse_escape() {
    constexpr std::pair<char, char32_t> kSimple[] = {
        {'n', '\n'}, {'r', '\r'}, {'t', '\t'}, {'\\', '\\'}, {'"', '"'},
        {'[', '['},  {']', ']'},  {'-', '-'},  {'^', '^'},   {'/', '/'}};
    if (take("x")) return parse_hex(2);
    if (take("u")) return parse_hex(4);
    if (take("U")) return parse_hex(8);
    for (const auto& [name, value] : kSimple) {
      if (take(std::string_view(&name, 1))) return value;
    }
    return expected("n, r, t, x, u, U or a character that needs it after \\");
  }

  Result<char32_t> parse_char(std::string_view inside) {
    if (at_end() || at("\n")) return expected(concat("the end of ", inside));
    if (take("\\")) return parse_escape();
    const utf8::Decoded decoded = utf8::decode(text_.substr(pos_));
    if (!decoded.valid) return expected("UTF-8");
    pos_ += size_t(decoded.length);
    return decoded.code_point;
  }

  Result<ExprId> parse_text() {
    std::string text;
    for (++pos_; !take("\"");) utf8::append(text, LM_TRY(parse_char("\"text\"")));
    return grammar_.text(text);
  }

  Result<ExprId> parse_class() {
    ++pos_;
    const bool negated = take("^");
    std::vector<CharRange> ranges;
    while (!take("]")) {
      const size_t begin = pos_;
      const char32_t first = LM_TRY(parse_char("a [class]"));
      char32_t last = first;
      if (at("-") && !at("-]")) {
        ++pos_;
        last = LM_TRY(parse_char("a [class]"));
      }
      if (last < first) return error_at(begin, "a range from a lower to a higher character");
      ranges.push_back({first, last});
    }
    const CharSet set(std::move(ranges));
    return grammar_.chars(negated ? set.complement() : set);
  }

  Status check_defined() const {
    for (size_t i = 0; i < grammar_.rules().size(); ++i) {
      const Grammar::Rule& rule = grammar_.rules()[i];
      if (rule.defined) continue;
      if (i == 0) return Error{ErrorCode::bad_file, "expected a rule \"root\", found none"};
      return Error{ErrorCode::bad_file,
                   concat("expected a definition of the rule \"", printable(rule.name),
                          "\", found none; it is used at ", place(used_at_[i]))};
    }
    return ok();
  }

  Grammar grammar_;
  std::unordered_map<std::string, RuleId> rules_;
  std::vector<size_t> used_at_;  // by rule: where it was named first
};

}  // namespace

Result<Grammar> parse_gbnf(std::string_view text) {
  if (text.size() > kMaxTextBytes) {
    return Error{ErrorCode::bad_file, concat("expected a grammar of at most ", kMaxTextBytes,
                                             " bytes, found ", text.size())};
  }
  return Parser(text).run();
}

}  // namespace lm::grammar
