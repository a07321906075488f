#include "engine/text/jinja/string_literal.h"

#include <algorithm>
#include <charconv>

#include "engine/core/utf8.h"

namespace lm::jinja {
namespace {

// `length` hexadecimal digits at `at`.
std::optional<char32_t> hex(std::string_view text, size_t at, size_t length) {
  if (at + length > text.size()) return std::nullopt;
  uint32_t code = 0;
  const char* end = text.data() + at + length;
  const auto [stop, error] = std::from_chars(text.data() + at, end, code, 16);
  if (error != std::errc{} || stop != end || code > 0x10FFFF) return std::nullopt;
  return code >= 0xD800 && code < 0xE000 ? 0xFFFD : code;
}

}  // namespace

std::optional<std::string> unescape(std::string_view literal) {
  static constexpr std::string_view kLetters = "\\'\"abfnrtv";
  static constexpr std::string_view kMeanings = "\\'\"\a\b\f\n\r\t\v";
  std::string out;
  for (size_t i = 0; i < literal.size(); ++i) {
    if (literal[i] != '\\' || i + 1 == literal.size()) {
      out.push_back(literal[i]);
      continue;
    }
    const char c = literal[++i];
    if (const size_t known = kLetters.find(c); known != std::string_view::npos) {
      out.push_back(kMeanings[known]);
    } else if (c == 'x' || c == 'u' || c == 'U') {
      const size_t length = c == 'x' ? 2 : c == 'u' ? 4 : 8;
      const std::optional<char32_t> code = hex(literal, i + 1, length);
      if (!code) return std::nullopt;
      utf8::append(out, *code);
      i += length;
    } else if (c >= '0' && c <= '7') {
      char32_t code = 0;
      const size_t end = std::min(i + 3, literal.size());
      for (; i < end && literal[i] >= '0' && literal[i] <= '7'; ++i) {
        code = code * 8 + char32_t(literal[i] - '0');
      }
      --i;
      utf8::append(out, code);
    } else if (c == 'N') {
      return std::nullopt;
    } else if (c != '\n') {  // an escaped newline is nothing; other escapes stay as they are
      out.push_back('\\');
      out.push_back(c);
    }
  }
  return out;
}

std::optional<int64_t> parse_based(std::string_view digits, char base) {
  const int radix = (base | 0x20) == 'x' ? 16 : (base | 0x20) == 'o' ? 8 : 2;
  int64_t value = 0;
  const char* end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, value, radix);
  if (error != std::errc{} || stop != end || digits[0] == '-') return std::nullopt;
  return value;
}

}  // namespace lm::jinja
