#include "engine/grammar/regex.h"

#include <utility>
#include <vector>

#include "engine/core/text.h"
#include "engine/core/utf8.h"
#include "engine/grammar/char_set.h"
#include "engine/grammar/limits.h"
#include "engine/grammar/text_cursor.h"

namespace lm::grammar {
namespace {

constexpr char32_t kLastChar = 0x10FFFF;
constexpr uint32_t kNoMost = UINT32_MAX;

const std::vector<CharRange> kDigits = {{'0', '9'}};
const std::vector<CharRange> kWord = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
const std::vector<CharRange> kSpace = {
    {'\t', '\r'},     {' ', ' '},       {0xA0, 0xA0},     {0x1680, 0x1680}, {0x2000, 0x200A},
    {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
const std::vector<CharRange> kLineEnds = {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};

// Parses and builds at once. What a quantifier repeats is parsed again for every copy: an Nfa
// cannot be copied in part, and the text can.
class Parser : TextCursor {
 public:
  explicit Parser(std::string_view pattern) : TextCursor(pattern) {}

  Result<Nfa> run() {
    if (!utf8::is_valid(text_)) return error("UTF-8");
    // Any text before, and any after.
    const uint32_t before = nfa_.add_state(), begin = nfa_.add_state();
    nfa_.final = nfa_.add_state();
    nfa_.add_jump(Nfa::kStart, before);
    nfa_.add_edge(before, 0, kLastChar, before);
    nfa_.add_jump(before, begin);
    const uint32_t end = LM_TRY(parse_choice(begin, 0));
    if (pos_ < text_.size()) return error("no ) without a (");
    nfa_.add_jump(end, nfa_.final);
    nfa_.add_edge(nfa_.final, 0, kLastChar, nfa_.final);
    return std::move(nfa_);
  }

 private:
  Error error(std::string_view expected) const { return fail(ErrorCode::bad_file, expected); }
  Error fail(ErrorCode code, std::string_view expected) const {
    return {code, concat("expected ", expected, " in the pattern \"", printable(text_, 60),
                         "\", at byte ", pos_)};
  }

  Result<uint32_t> parse_choice(uint32_t from, int depth) {
    if (depth > kMaxNesting) return error(concat("groups at most ", kMaxNesting, " deep"));
    const uint32_t end = nfa_.add_state();
    do {
      uint32_t state = nfa_.add_state();
      nfa_.add_jump(from, state);
      while (!at_end() && !at("|") && !at(")")) state = LM_TRY(parse_term(state, depth));
      nfa_.add_jump(state, end);
    } while (take("|"));
    return end;
  }

  // An assertion, or an atom with its quantifier.
  Result<uint32_t> parse_term(uint32_t from, int depth) {
    if (nfa_.full()) return fail(ErrorCode::unsupported, "a smaller automaton");
    if (at("^") || at("$")) {
      const uint32_t to = nfa_.add_state();
      nfa_.add_jump(from, to, at("^") ? Nfa::When::at_start : Nfa::When::at_end);
      ++pos_;
      return to;
    }
    const size_t begin = pos_;
    // A state of its own: a loop back to it must not take in what came before.
    const uint32_t first = nfa_.add_state();
    nfa_.add_jump(from, first);
    uint32_t state = LM_TRY(parse_atom(first, depth));
    uint32_t least = 1, most = 1;
    const size_t after_atom = pos_;
    LM_TRY(parse_quantifier(least, most));
    if (least == 1 && most == 1) return state;
    const size_t after = pos_;
    state = LM_TRY(repeat({begin, after_atom}, depth, first, state, least, most));
    pos_ = after;
    return state;
  }

  // The atom at text_[span] was built once, from `first` to `once`: the copies that are missing.
  Result<uint32_t> repeat(std::pair<size_t, size_t> span, int depth, uint32_t first, uint32_t once,
                          uint32_t least, uint32_t most) {
    const uint32_t end = nfa_.add_state();
    if (least == 0) nfa_.add_jump(first, end);
    if (most == 0) return end;  // what was built leads nowhere
    uint32_t last_begin = first, state = once;
    const uint32_t copies = most == kNoMost ? std::max(least, 1U) : most;
    for (uint32_t i = 1; i < copies; ++i) {
      if (i >= least) nfa_.add_jump(state, end);
      if (nfa_.full()) return fail(ErrorCode::unsupported, "a smaller automaton");
      pos_ = span.first;
      last_begin = nfa_.add_state();
      nfa_.add_jump(state, last_begin);
      state = LM_TRY(parse_atom(last_begin, depth));
    }
    if (most == kNoMost) nfa_.add_jump(state, last_begin);
    nfa_.add_jump(state, end);
    return end;
  }

  Status parse_quantifier(uint32_t& least, uint32_t& most) {
    if (take("*")) {
      least = 0, most = kNoMost;
    } else if (take("+")) {
      least = 1, most = kNoMost;
    } else if (take("?")) {
      least = 0, most = 1;
    } else if (take("{")) {
      least = LM_TRY(parse_count());
      most = least;
      if (take(",")) most = at("}") ? kNoMost : LM_TRY(parse_count());
      if (!take("}")) return error("} after a repetition's counts");
      if (most < least) return error("a repetition {m,n} with m not above n");
    } else {
      return ok();
    }
    (void)take("?");  // lazy: the same texts
    if (at("*") || at("+") || at("?") || at("{")) return error("no repetition of a repetition");
    return ok();
  }

  Result<uint32_t> parse_count() {
    uint32_t count = 0;
    const size_t begin = pos_;
    for (; !at_end() && text_[pos_] >= '0' && text_[pos_] <= '9'; ++pos_) {
      count = count * 10 + uint32_t(text_[pos_] - '0');
      if (count > kMaxRepeat) return fail(ErrorCode::unsupported, "a smaller count");
    }
    if (pos_ == begin) return error("a count");
    return count;
  }

  Result<uint32_t> parse_atom(uint32_t from, int depth) {
    if (at("(")) return parse_group(from, depth);
    if (at("*") || at("+") || at("?") || at("{")) return error("something to repeat");
    if (at("]") || at("}")) return error("no closing bracket without an opening one");
    CharSet set;
    if (take("[")) {
      set = LM_TRY(parse_class());
    } else if (take(".")) {
      set = CharSet(kLineEnds).complement();
    } else {
      set = CharSet(LM_TRY(parse_char_or_set(false)));
    }
    const uint32_t to = nfa_.add_state();
    for (const CharRange& range : set.ranges()) nfa_.add_edge(from, range.first, range.last, to);
    return to;
  }

  Result<uint32_t> parse_group(uint32_t from, int depth) {
    ++pos_;
    if (at("?=") || at("?!") || at("?<=") || at("?<!")) {
      return fail(ErrorCode::unsupported, "no look-around");
    }
    if (take("?<")) {
      while (!at_end() && !at(">")) ++pos_;
      if (!take(">")) return error("> after a group's name");
    } else if (at("?") && !take("?:")) {
      return error("(?: or (?<name> at a group's beginning");
    }
    const uint32_t end = LM_TRY(parse_choice(from, depth + 1));
    if (!take(")")) return error(") after a group");
    return end;
  }

  Result<CharSet> parse_class() {
    const bool negated = take("^");
    std::vector<CharRange> ranges;
    while (!take("]")) {
      if (at_end()) return error("] after a class");
      const std::vector<CharRange> first = LM_TRY(parse_char_or_set(true));
      const bool single = first.size() == 1 && first[0].first == first[0].last;
      if (!at("-") || at("-]")) {
        ranges.insert(ranges.end(), first.begin(), first.end());
        continue;
      }
      ++pos_;
      const std::vector<CharRange> last = LM_TRY(parse_char_or_set(true));
      if (!single || last.size() != 1 || last[0].first != last[0].last ||
          last[0].first < first[0].first) {
        return error("a range from a lower to a higher character");
      }
      ranges.push_back({first[0].first, last[0].first});
    }
    const CharSet set(std::move(ranges));
    return negated ? set.complement() : set;
  }

  // One character, or what an escape like \d stands for.
  Result<std::vector<CharRange>> parse_char_or_set(bool in_class) {
    using Ranges = std::vector<CharRange>;
    if (at_end()) return error("a character");
    if (!take("\\")) {
      const utf8::Decoded decoded = utf8::decode(text_.substr(pos_));
      pos_ += size_t(decoded.length);
      return Ranges{{decoded.code_point, decoded.code_point}};
    }
    if (at_end()) return error("a character after \\");
    const char c = text_[pos_++];
    const auto inverse = [](const Ranges& ranges) { return CharSet(ranges).complement().ranges(); };
    switch (c) {
      case 'd':
        return kDigits;
      case 'w':
        return kWord;
      case 's':
        return kSpace;
      case 'D':
        return inverse(kDigits);
      case 'W':
        return inverse(kWord);
      case 'S':
        return inverse(kSpace);
      default:
        break;
    }
    --pos_;
    const char32_t value = LM_TRY(parse_escaped_char(in_class));
    return Ranges{{value, value}};
  }

  Result<char32_t> parse_escaped_char(bool in_class) {
    constexpr std::pair<char, char32_t> kControls[] = {
        {'n', '\n'}, {'r', '\r'}, {'t', '\t'}, {'f', '\f'}, {'v', '\v'}};
    for (const auto& [name, value] : kControls) {
      if (take(std::string_view(&name, 1))) return value;
    }
    if (in_class && take("b")) return char32_t('\b');
    const char c = text_[pos_++];
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (c == 'x') return parse_hex(2);
    if (c == 'u') return parse_unicode();
    if (c == '0' && (at_end() || text_[pos_] < '0' || text_[pos_] > '9')) return char32_t(0);
    if (!letter && !(c >= '0' && c <= '9') && uint8_t(c) < 0x80) return char32_t(c);
    --pos_;
    return fail(ErrorCode::unsupported, "an escape that is known, and is no back-reference");
  }

  Result<char32_t> parse_unicode() {
    char32_t value = 0;
    if (take("{")) {
      const size_t end = text_.find('}', pos_);
      if (end == std::string_view::npos || end - pos_ > 6 || end == pos_) return error("\\u{HEX}");
      value = LM_TRY(parse_hex(int(end - pos_)));
      ++pos_;
    } else {
      value = LM_TRY(parse_hex(4));
      if (value >= 0xD800 && value < 0xDC00 && take("\\u")) {
        const char32_t low = LM_TRY(parse_hex(4));
        if (low < 0xDC00 || low > 0xDFFF) return error("the second half of a surrogate pair");
        value = 0x10000 + ((value - 0xD800) << 10) + (low - 0xDC00);
      }
    }
    if (value > kLastChar || (value >= 0xD800 && value < 0xE000)) {
      return error("the number of a character");
    }
    return value;
  }

  Result<char32_t> parse_hex(int digits) {
    char32_t value = 0;
    for (int i = 0; i < digits; ++i, ++pos_) {
      const int digit = hex_digit();
      if (digit < 0) return error("a hexadecimal digit");
      value = value << 4 | char32_t(digit);
    }
    return value;
  }

  Nfa nfa_;
};

}  // namespace

Result<Dfa> compile_regex(std::string_view pattern, Work& work) {
  const Nfa nfa = LM_TRY(Parser(pattern).run());
  return trim(LM_TRY(determinize(nfa, work)));
}

}  // namespace lm::grammar
