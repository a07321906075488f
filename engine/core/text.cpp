#include "engine/core/text.h"

#include <charconv>
#include <cmath>

#include "engine/core/utf8.h"

namespace lm {

std::string printable(std::string_view text, size_t max_bytes) {
  std::string out;
  while (!text.empty()) {
    const utf8::Decoded d = utf8::decode(text);
    if (out.size() + size_t(d.length) > max_bytes) return out + "...";
    const bool control = d.code_point < 0x20 || (d.code_point >= 0x7F && d.code_point < 0xA0);
    if (d.valid && !control) {
      out.append(text.substr(0, size_t(d.length)));
    } else {
      out.push_back('?');
    }
    text.remove_prefix(size_t(d.length));
  }
  return out;
}

std::optional<int64_t> parse_int(std::string_view text) {
  int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || at != end) return std::nullopt;
  return value;
}

std::optional<double> parse_double(std::string_view text) {
  double value = 0;
  const char* end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || at != end || !std::isfinite(value)) return std::nullopt;
  return value;
}

}  // namespace lm
