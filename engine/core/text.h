// engine/core/text.h — joining and parsing small strings without surprises.
#pragma once
#include <cstdint>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>

namespace lm {

// concat("tensor ", name, " has ", 3, " dimensions")
template <class... Parts>
std::string concat(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return std::move(out).str();
}

// Text from outside, made safe for one line of a terminal: control characters and invalid UTF-8
// become '?', and more than max_bytes is cut with "...".
std::string printable(std::string_view text, size_t max_bytes = 120);

// The whole of `text` as a number; nullopt when anything is left over or out of range.
std::optional<int64_t> parse_int(std::string_view text);
std::optional<double> parse_double(std::string_view text);

}  // namespace lm
