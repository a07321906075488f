// engine/text/jinja/string_literal.h — what the literals mean: Python's escapes and integers.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace lm::jinja {

// nullopt: an escape is cut short or names no character.
std::optional<std::string> unescape(std::string_view literal);

// Digits of the base that 'x', 'o' or 'b' stands for; nullopt when they are not, or out of range.
std::optional<int64_t> parse_based(std::string_view digits, char base);

}  // namespace lm::jinja
