// engine/core/utf8.h — UTF-8 as defined by Unicode 15 table 3-7: no overlong forms, no surrogates.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace lm::utf8 {

struct Decoded {
  char32_t code_point;  // U+FFFD when the bytes are not a character
  int length;           // bytes consumed, >= 1 unless the text is empty
  bool valid;
};

// The first character of `text`. An invalid sequence consumes its maximal valid prefix (at least
// one byte), as Unicode 15 section 3.9 recommends.
Decoded decode(std::string_view text);

void append(std::string& out, char32_t code_point);

bool is_valid(std::string_view text);

// `text` with every invalid sequence replaced by U+FFFD.
std::string sanitize(std::string_view text);

// The length of the longest prefix that does not end inside a character that more bytes could
// complete. At most the last 3 bytes are left out.
size_t complete_prefix(std::string_view text);

}  // namespace lm::utf8
